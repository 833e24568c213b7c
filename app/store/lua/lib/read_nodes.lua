-- read_nodes(joins, first, from): {joins (values in order, or field, value, ... for all), fields of each node run in order}, of the
-- node runs KEYS[first], KEYS[first + 1], ...; ARGV, from `from` on: number of joins or -1 for all, their names, then the fields.
local function read_nodes(joins, first, from)
  local count = tonumber(ARGV[from])
  local fields = {unpack(ARGV, from + 1 + math.max(count, 0))}
  local reply = {{}}
  if count < 0 then
    reply[1] = redis.call('HGETALL', joins)
  elseif count > 0 then
    reply[1] = redis.call('HMGET', joins, unpack(ARGV, from + 1, from + count))
  end
  for i = first, #KEYS do reply[#reply + 1] = redis.call('HMGET', KEYS[i], unpack(fields)) end
  return reply
end
