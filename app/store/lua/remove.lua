-- Begin to remove a finished run whose time has come: nothing of it is seen from now on. A small one is gone at once.
-- KEYS: finished, gone, runs, runs of the workflow, removal, pins, then the keys of the run but for its node runs'
-- ARGV: run id, ms, number of pins that were looked at, 1 when nothing else is left of it, workflow, version
-- Replies: 1; 0 when another run has pinned it meanwhile: nothing is changed.
if redis.call('SCARD', KEYS[6]) ~= tonumber(ARGV[3]) then return 0 end
if ARGV[4] == '1' then
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[5], 'w', ARGV[5], 'v', ARGV[6], 'c', '0')
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
for i = 6, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
