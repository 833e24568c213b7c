-- A sign of life; only a field, the due timer reads it.
-- KEYS: node run
-- ARGV: attempt, epoch
-- Replies: {'ok', why it must stop or ''}; {'missing'}; {'stale'}
--@include clock
--@include fence
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
redis.call('HSET', KEYS[1], 'h', now_ms())
return {'ok', redis.call('HGET', KEYS[1], 't') or ''}
