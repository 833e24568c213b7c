-- read_nodes(joins, first, from): reads joins and the node runs KEYS[first], KEYS[first + 1], ...
-- ARGV, from `from` on: '*' for all joins, else the names of some or nothing.
-- Returns: {joins (values in order, or field, value, ... for all), NODE_FIELDS of each node run in order}.
--@list NODE_FIELDS
local function read_nodes(joins, first, from)
  local reply = {{}}
  if ARGV[from] == '*' then
    reply[1] = redis.call('HGETALL', joins)
  elseif ARGV[from] then
    reply[1] = redis.call('HMGET', joins, unpack(ARGV, from))
  end
  for i = first, #KEYS do reply[#reply + 1] = redis.call('HMGET', KEYS[i], unpack(NODE_FIELDS)) end
  return reply
end
