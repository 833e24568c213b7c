-- Read node runs and joins. Writes nothing.
-- KEYS: joins, then node runs
-- ARGV: number of joins or -1 for all, their names, then the fields of a node run
-- Replies: {joins (values in order, or field, value, ... for all), fields of each node run in order}
local count = tonumber(ARGV[1])
local names, fields = {}, {}
for i = 2, 1 + math.max(count, 0) do names[#names + 1] = ARGV[i] end
for i = 2 + math.max(count, 0), #ARGV do fields[#fields + 1] = ARGV[i] end
local joins = {}
if count < 0 then
  joins = redis.call('HGETALL', KEYS[1])
elseif count > 0 then
  joins = redis.call('HMGET', KEYS[1], unpack(names))
end
local reply = {joins}
for i = 2, #KEYS do reply[i] = redis.call('HMGET', KEYS[i], unpack(fields)) end
return reply
