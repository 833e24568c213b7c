-- The attempt of a service node failed, by its answer or by its callback. The same callback again changes nothing.
-- KEYS: node run, run, inbox, active, calls
-- ARGV: attempt, epoch, run id, signal, task, "attempt:digest" of the callback or ''
-- Replies: {'ok', ''}; {'missing'}; {'stale'}
--@include push
--@include fence
if ARGV[6] ~= '' and redis.call('HGET', KEYS[1], 'cb') == ARGV[6] then return {'ok', ''} end
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'cb', ARGV[6]) end
redis.call('ZREM', KEYS[5], ARGV[5])
push(KEYS[2], KEYS[3], KEYS[4], ARGV[3], ARGV[4])
return {'ok', ''}
