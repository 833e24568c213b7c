-- Let a paused run go on, once; how long it was paused is added up.
-- KEYS: run, inbox, active, events, receipt
-- ARGV: run id, signal, event (JSON)
-- Replies: the state of the run, 'queued' where only its receipt is there; false where there is no such run.
--@include clock
--@include push
--@include queued
local run = redis.call('HMGET', KEYS[1], 's', 'pz')
if not run[1] then
  if not queued(KEYS[5], ARGV[1]) then return false end
  redis.call('HDEL', KEYS[5], 'pz')
  return 'queued'
end
if run[2] then
  local now = now_ms()
  redis.call('HDEL', KEYS[1], 'pz')
  redis.call('HINCRBY', KEYS[1], 'pt', now - run[2])
  redis.call('HSET', KEYS[1], 'rz', now)
  redis.call('XADD', KEYS[4], '*', 'd', ARGV[3])
  push(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2])
end
return run[1]
