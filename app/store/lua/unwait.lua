-- Nobody waits for a pool any more, or its reservation stands for nothing: say so.
-- KEYS: waits, turns of the pool, queue, shares
-- ARGV: pool
-- Replies: 1 changed; 0 it is as it should be.
local mark = redis.call('HGET', KEYS[1], ARGV[1])
if not mark then return 0 end
local owner = string.match(mark, '^%d+ (.*)$')
if owner and redis.call('ZSCORE', KEYS[3], owner) then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then
  if not owner then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], '')
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[4]) end
end
return 1
