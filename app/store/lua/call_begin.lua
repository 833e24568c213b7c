-- A launch of a service node is in a worker's hands: its submission ends, its call begins, leased to the worker.
-- KEYS: node run, launches, calls
-- ARGV: task, attempt, launch, lease ms, status of a launch that has not begun
-- Replies: 1; 0 when the launch is not the node run's live one any more.
--@include clock
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l')
redis.call('ZREM', KEYS[2], ARGV[1])
if f[1] ~= ARGV[5] or f[2] ~= ARGV[2] or f[3] ~= ARGV[3] then return 0 end
local now = now_ms()
redis.call('HSET', KEYS[1], 'g', now)
redis.call('ZADD', KEYS[3], now + ARGV[4], ARGV[1])
return 1
