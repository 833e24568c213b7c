-- Replace the keys of a finished run by one value, while nothing of it moves.
-- KEYS: run, inbox, packed, finished, then the other keys that the value stands for
-- ARGV: run id, revision, value, ms when the run is due next
-- Replies: 1; 0 when the run has moved, or is packed or gone.
local f = redis.call('HMGET', KEYS[1], 'k', 'ac')
if f[1] ~= ARGV[2] or f[2] or redis.call('LLEN', KEYS[2]) > 0 then return 0 end
redis.call('SET', KEYS[3], ARGV[3])
redis.call('UNLINK', KEYS[1])
for i = 5, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
return 1
