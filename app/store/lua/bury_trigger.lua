-- Move a trigger that cannot be started to the dead letters, and acknowledge it, in one step.
-- KEYS: triggers, dead, receipt
-- ARGV: group, entry id, receipt id, payload, reason
-- Replies: 1, or 0 where it is not in the stream any more.
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  return 0
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
local letter = redis.call('XADD', KEYS[2], '*', 'kind', 'trigger', 'id', ARGV[3], 'reason', ARGV[5], 'd', ARGV[4])
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('HSET', KEYS[3], 's', 'dead', 'x', ARGV[5], 'd', ARGV[4], 'de', letter)
end
return 1
