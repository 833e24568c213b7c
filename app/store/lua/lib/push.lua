-- push(run, inbox, active, id, signal): add a signal to a run's inbox; add the run to `active` unless it is marked there.
local function push(run, inbox, active, id, signal)
  redis.call('RPUSH', inbox, signal)
  if redis.call('HSETNX', run, 'ac', '1') == 1 then
    redis.call('XADD', active, '*', 'r', id)
  end
end
