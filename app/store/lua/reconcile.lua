-- Take a holder out of a pool when its attempt is over; an attempt that lives keeps its slots.
-- KEYS: holders of the pool, node run, launches
-- ARGV: task, attempt, launch, live states...
-- Replies: 1 taken out; 0 it holds its slots rightly, or was taken out before.
local node = redis.call('HMGET', KEYS[2], 's', 'a', 'l')
if node[2] == ARGV[2] and (node[3] or '0') == ARGV[3] then
  for i = 4, #ARGV do
    if node[1] == ARGV[i] then return 0 end
  end
end
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
local slots = tonumber(string.match(value, '^%d+ (%d+)') or '1')
if slots > 1 and redis.call('HINCRBY', KEYS[1], '+', 1 - slots) == 0 then redis.call('HDEL', KEYS[1], '+') end
return 1
