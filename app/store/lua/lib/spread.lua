-- spread(command, key, values): one command for many values, in pieces that fit Lua's stack.
local function spread(command, key, values)
  for at = 1, #values, 4000 do
    redis.call(command, key, unpack(values, at, math.min(at + 3999, #values)))
  end
end
