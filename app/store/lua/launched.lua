-- A launch has a process now: record where, end its submission lease, let its run timeout begin.
-- KEYS: node run, launches, timers, processes of the host
-- ARGV: task, attempt, launch, timer member, run timeout ms, record of the process (JSON), status in which it never called start
-- Replies: 1; 0 when the launch is not the node run's live one any more: the process must be stopped.
--@include clock
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l', 'g')
redis.call('ZREM', KEYS[2], ARGV[1])
local over = f[1] == 'succeeded' or f[1] == 'failed'
if f[2] ~= ARGV[2] or f[3] ~= ARGV[3] or (f[1] ~= 'starting' and f[1] ~= 'running') then
  return (over and f[2] == ARGV[2]) and 1 or 0
end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[6])
if not f[4] or f[4] == '0' then
  local now = now_ms()
  redis.call('HSET', KEYS[1], 'g', now)
  if f[1] == ARGV[7] then redis.call('ZADD', KEYS[3], now + ARGV[5], ARGV[4]) end
end
return 1
