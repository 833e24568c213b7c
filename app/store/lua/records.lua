-- Keep failed records of a node run, idempotent by their position in its stream.
-- KEYS: node run, records
-- ARGV: attempt, epoch, most records kept, position from which on what is there goes first or '', then position, error (JSON), ...
-- Replies: {'ok', number of failed records kept}; {'missing'}; {'stale'}
--@include fence
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
if ARGV[4] ~= '' then
  local from, left = tonumber(ARGV[4]), {}
  for _, place in ipairs(redis.call('HKEYS', KEYS[2])) do
    if tonumber(place) >= from then left[#left + 1] = place end
  end
  for i = 1, #left, 1000 do redis.call('HDEL', KEYS[2], unpack(left, i, math.min(i + 999, #left))) end
end
local room = tonumber(ARGV[3]) - redis.call('HLEN', KEYS[2])
for i = 5, #ARGV, 2 do
  if room > 0 or redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    room = room - redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
local count = redis.call('HLEN', KEYS[2])
redis.call('HSET', KEYS[1], 'fr', count)
return {'ok', count}
