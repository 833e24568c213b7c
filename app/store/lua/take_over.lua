-- Write node runs that a run to come keeps of an earlier one, while it is not there yet. The same again changes nothing.
-- KEYS: receipt of its trigger, run, finished, node runs...
-- ARGV: run id, ms when it is looked at whether the run came to be, then for each node run: number of values, field, value, ...
-- Replies: 1; 0 where the run is there, or was, or never will be.
local state = redis.call('HGET', KEYS[1], 's')
if (state and state ~= 'queued') or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('ZADD', KEYS[3], 'NX', ARGV[2], ARGV[1])
local at = 3
for i = 4, #KEYS do
  local count = tonumber(ARGV[at])
  redis.call('HSET', KEYS[i], unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
return 1
