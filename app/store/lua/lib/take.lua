-- take(): the next argument, from `position` on.
local ARGV, position = ARGV, 1
local function take()
  local value = ARGV[position]
  position = position + 1
  return value
end
