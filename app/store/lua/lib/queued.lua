-- queued(receipt, run): whether the trigger of a run that is not there yet still waits to be taken.
local function queued(receipt, run)
  local f = redis.call('HMGET', receipt, 's', 'r')
  return f[1] == 'queued' and f[2] == run
end
