-- ended(state, from): whether a state is one of the terminal states that ARGV holds, their number first, from `from` on.
local function ended(state, from)
  for i = from + 1, from + tonumber(ARGV[from]) do
    if state == ARGV[i] then return true end
  end
  return false
end
