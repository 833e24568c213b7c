-- Admit ready node runs to free slots: each takes its slot, its submission is leased to the worker, its start timer runs.
-- KEYS: ready, pool, timers, launches, then for each task: node run, events of its run, its run
-- ARGV: slots of the pool, lease ms, status of a run whose nodes may start, number of tasks,
--       then for each: task, timer member, attempt, launch, start timeout ms, event (JSON)
-- Replies: a list with 1 for each admitted task, 0 for one that must wait (no slot, or others wait longer),
--          -1 for one that is not ready any more, or whose run is paused (dropped from the queue; resume puts it back).
--@include clock
local now = now_ms()
local free = tonumber(ARGV[1]) - redis.call('HLEN', KEYS[2])
local replies, at = {}, 5
for i = 1, tonumber(ARGV[4]) do
  local task, member, attempt, launch, start_ms, event = unpack(ARGV, at, at + 5)
  at = at + 6
  local node, events, run = KEYS[2 + 3 * i], KEYS[3 + 3 * i], KEYS[4 + 3 * i]
  local rank = redis.call('ZRANK', KEYS[1], task)
  if not rank then
    replies[i] = -1
  elseif rank >= free then
    replies[i] = 0
  else
    local was = redis.call('HMGET', node, 's', 'a', 'l')
    redis.call('ZREM', KEYS[1], task)
    local state = redis.call('HMGET', run, 's', 'pz')
    local live = state[1] == ARGV[3] and not state[2]
    if live and was[1] == 'ready' and was[2] == attempt and was[3] == launch then
      free = free - 1
      redis.call('HSET', KEYS[2], task, now)
      redis.call('HSET', node, 's', 'starting', 'b', now)
      redis.call('ZADD', KEYS[3], now + start_ms, member)
      redis.call('ZADD', KEYS[4], now + ARGV[2], task)
      redis.call('XADD', events, '*', 'd', event)
      replies[i] = 1
    else
      replies[i] = -1
    end
  end
end
return replies
