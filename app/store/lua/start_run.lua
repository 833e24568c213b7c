-- Turn a trigger into a run, and acknowledge the trigger, in one step. A redelivered trigger changes nothing.
-- What was asked of the run while it had no record but its receipt is done now: it starts paused, or is over at once.
-- KEYS: triggers, receipt, run, inbox, active, events, runs, runs of the workflow
-- ARGV: group, entry id, run id, signal, event (JSON), signal of a run that was cancelled before, number of run fields, field, value, ...
-- Replies: 1 started, 0 the run was there already.
--@include clock
--@include push
local receipt = redis.call('HMGET', KEYS[2], 's', 'cr', 'pz')
local state, cancelled = receipt[1], receipt[2]
local fresh = state ~= 'started' and redis.call('EXISTS', KEYS[3]) == 0 -- a finished run may be packed or gone already
if fresh then
  local now = now_ms()
  local fields = {'c', now}
  for i = 8, 7 + 2 * tonumber(ARGV[7]) do fields[#fields + 1] = ARGV[i] end
  redis.call('HSET', KEYS[3], unpack(fields))
  if receipt[3] then redis.call('HSET', KEYS[3], 'pz', receipt[3]) end
  redis.call('ZADD', KEYS[7], now, ARGV[3])
  redis.call('ZADD', KEYS[8], now, ARGV[3])
  redis.call('XADD', KEYS[6], '*', 'd', ARGV[5])
  if cancelled then redis.call('HSET', KEYS[3], 'cr', cancelled) end
  push(KEYS[3], KEYS[4], KEYS[5], ARGV[3], cancelled and ARGV[6] or ARGV[4])
end
if state then redis.call('HSET', KEYS[2], 's', 'started') end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return fresh and 1 or 0
