-- Turn a trigger into a run, and acknowledge the trigger, in one step. A redelivered trigger changes nothing.
-- KEYS: triggers, receipt, run, inbox, active, events, runs, runs of the workflow
-- ARGV: group, entry id, run id, signal, event (JSON), number of run fields, field, value, ...
-- Replies: 1 started, 0 the run was there already.
--@include clock
--@include push
local state = redis.call('HGET', KEYS[2], 's')
local fresh = state ~= 'started' and redis.call('EXISTS', KEYS[3]) == 0 -- a finished run may be packed or gone already
if fresh then
  local now = now_ms()
  local fields = {'c', now}
  for i = 7, 6 + 2 * tonumber(ARGV[6]) do fields[#fields + 1] = ARGV[i] end
  redis.call('HSET', KEYS[3], unpack(fields))
  redis.call('ZADD', KEYS[7], now, ARGV[3])
  redis.call('ZADD', KEYS[8], now, ARGV[3])
  redis.call('XADD', KEYS[6], '*', 'd', ARGV[5])
  push(KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[4])
end
if state then redis.call('HSET', KEYS[2], 's', 'started') end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return fresh and 1 or 0
