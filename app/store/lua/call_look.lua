-- A worker looks at a call again after a while, or at once; not where the call is over.
-- KEYS: calls
-- ARGV: task, ms from now
-- Replies: how many calls were changed: always 0, as ZADD counts.
--@include clock
return redis.call('ZADD', KEYS[1], 'XX', now_ms() + ARGV[2], ARGV[1])
