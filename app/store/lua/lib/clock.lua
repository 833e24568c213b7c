-- now_ms(): the server's clock in ms since the epoch; leases and timers never use a client's.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
