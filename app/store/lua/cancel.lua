-- Ask for the end of a run, once. One whose trigger was not taken yet is cancelled when it is.
-- KEYS: run, inbox, active, events, receipt
-- ARGV: run id, signal, event (JSON), number of terminal states, terminal states...
-- Replies: the state of the run, 'queued' where only its receipt is there; false where there is no such run.
--@include clock
--@include ended
--@include push
--@include queued
local state = redis.call('HGET', KEYS[1], 's')
if not state then
  if not queued(KEYS[5], ARGV[1]) then return false end
  redis.call('HSETNX', KEYS[5], 'cr', now_ms())
  return 'queued'
end
if ended(state, 4) then return state end
if redis.call('HSETNX', KEYS[1], 'cr', now_ms()) == 1 then
  redis.call('XADD', KEYS[4], '*', 'd', ARGV[3])
  push(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2])
end
return state
