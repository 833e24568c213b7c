-- An instance (a pod, a process) starts an attempt: the newest instance holds it, by a new epoch.
-- KEYS: node run, events, timers
-- ARGV: attempt, instance, timer member, ms to the first look at its timeouts, event (JSON), status before, status after
-- Replies: {'ok', epoch, last ended step, seq, data, metadata, config, item, run whose failed records are redone}; {'missing'}; {'stale'}
--@include clock
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'e', 'i', 'p', 'q', 'd', 'm', 'c', 'v', 'rd')
if not f[1] then return {'missing'} end
if f[2] ~= ARGV[1] or (f[1] ~= ARGV[6] and f[1] ~= ARGV[7]) then return {'stale'} end
local epoch = tonumber(f[3] or '0')
if f[1] == ARGV[6] or f[4] ~= ARGV[2] then
  local now = now_ms()
  epoch = epoch + 1
  local writes = {'s', ARGV[7], 'e', epoch, 'i', ARGV[2], 'h', now}
  if f[1] == ARGV[6] then
    writes[9], writes[10] = 'r', now
  end
  redis.call('HSET', KEYS[1], unpack(writes))
  if f[1] == ARGV[6] then
    redis.call('XADD', KEYS[2], '*', 'd', ARGV[5])
    redis.call('ZADD', KEYS[3], now + ARGV[4], ARGV[3])
  end
end
return {'ok', epoch, f[5], f[6], f[7], f[8], f[9], f[10], f[11]}
