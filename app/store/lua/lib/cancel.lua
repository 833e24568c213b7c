-- cancel_run(run, inbox, active, events, receipt, id, signal, event, from): ask for the end of a run, once; the terminal states
-- stand in ARGV from `from` on, as `ended` reads them. One whose trigger was not taken yet is cancelled when it is.
-- Gives the state of the run, 'queued' where only its receipt is there; false where there is no such run.
local function cancel_run(run, inbox, active, events, receipt, id, signal, event, from)
  local state = redis.call('HGET', run, 's')
  if not state then
    if not queued(receipt, id) then return false end
    redis.call('HSETNX', receipt, 'cr', now_ms())
    return 'queued'
  end
  if ended(state, from) then return state end
  if redis.call('HSETNX', run, 'cr', now_ms()) == 1 then
    redis.call('XADD', events, '*', 'd', event)
    push(run, inbox, active, id, signal)
  end
  return state
end
