-- Keep failed records of a node run, idempotent by their position in its stream.
-- KEYS: node run, records
-- ARGV: attempt, epoch, most records kept, then position, error (JSON), ...
-- Replies: {'ok', number of failed records kept}; {'missing'}; {'stale'}
--@include fence
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
local room = tonumber(ARGV[3]) - redis.call('HLEN', KEYS[2])
for i = 4, #ARGV, 2 do
  if room > 0 or redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    room = room - redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
local count = redis.call('HLEN', KEYS[2])
redis.call('HSET', KEYS[1], 'fr', count)
return {'ok', count}
