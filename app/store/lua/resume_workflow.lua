-- Let a paused workflow go on: its waiting runs are looked at, and its schedules, from now on.
-- KEYS: workflow, workflows with waiting runs, schedules
-- ARGV: workflow
-- Replies: 1; 0 it was not paused.
--@include clock
if redis.call('HDEL', KEYS[1], 'paused') == 0 then return 0 end
local now = now_ms()
redis.call('HSET', KEYS[1], 'resumed', now)
redis.call('ZADD', KEYS[2], 'XX', 0, ARGV[1])
redis.call('ZADD', KEYS[3], 'XX', -now, ARGV[1])
return 1
