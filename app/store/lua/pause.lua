-- Pause a run, once: nothing of it is admitted from now on. One whose trigger was not taken yet is paused from its start.
-- KEYS: run, events, receipt
-- ARGV: run id, event (JSON), number of terminal states, terminal states...
-- Replies: the state of the run, 'queued' where only its receipt is there; false where there is no such run.
--@include clock
--@include ended
--@include queued
local state = redis.call('HGET', KEYS[1], 's')
if not state then
  if not queued(KEYS[3], ARGV[1]) then return false end
  redis.call('HSETNX', KEYS[3], 'pz', now_ms())
  return 'queued'
end
if ended(state, 3) then return state end
if redis.call('HSETNX', KEYS[1], 'pz', now_ms()) == 1 then redis.call('XADD', KEYS[2], '*', 'd', ARGV[2]) end
return state
