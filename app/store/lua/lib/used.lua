-- used(holders, wide): the slots of a pool that are held: the number of its holders. Only where one may take several (`wide`)
-- the field '+' keeps what they hold beyond one each.
local function used(holders, wide)
  local count = redis.call('HLEN', holders)
  local beyond = wide and redis.call('HGET', holders, '+')
  return beyond and count - 1 + beyond or count
end
