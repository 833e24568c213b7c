-- Take over the submission of a task whose worker let its lease end.
-- KEYS: launches
-- ARGV: task, lease ms
-- Replies: 1 taken; 0 another worker has it, or it was launched.
--@include clock
local now = now_ms()
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > now then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return 1
