-- Admit ready node runs: each takes a slot of all its pools, its submission is leased to the worker, its start timer runs.
-- Files the lanes of those that must wait.
-- KEYS: queue, waits, filed, aging, shares, pools, timers, launches, then for each pool: its holders, its turns,
--       then for each task: node run, events of its run, its run
-- ARGV: 'new' (just made ready: waits where others wait) or 'turn' (chosen from the queue; every lane is filed anew),
--       lease ms, status of a run whose nodes may start, ms of a step of urgency, ms of patience, what an urgency counts,
--       number of pools, for each: name, slots where none are set or '' for no limit;
--       number of lanes, for each: lane, workflow, type, priority, '1' if more of it waits, number of its pools,
--         for each, in the order of names: index, slots;
--       number of tasks, for each: index of its lane, member of the queue, task, timer member, attempt, launch,
--         start timeout ms, event (JSON)
-- Replies: a list with 1 for each admitted task, 0 for one that must wait,
--          -1 for one that is not ready any more, or whose run is paused (dropped from the queue; resume puts it back).
--@include clock
--@include used
--@include lanes
--@include take
local fresh, lease, running = ARGV[1] == 'new', ARGV[2], ARGV[3]
position = 7

local now, pools = now_ms(), {}
for i = 1, tonumber(take()) do
  pools[i] = {name = take(), default = take(), holders = KEYS[7 + 2 * i], turns = KEYS[8 + 2 * i]}
end
read_pools(KEYS, pools)
local first = 8 + 2 * #pools
local lanes = {}
for i = 1, tonumber(take()) do
  local lane = {text = take(), workflow = take(), type = take(), priority = tonumber(take()), more = take() == '1', needs = {}}
  for j = 1, tonumber(take()) do lane.needs[j] = {pool = pools[tonumber(take())], slots = tonumber(take())} end
  lanes[i] = lane
end

local queue = Queue(KEYS, ARGV, now, fresh)
local replies = {}
for i = 1, tonumber(take()) do
  local lane, member, task = lanes[tonumber(take())], take(), take()
  local timer, attempt, launch, start_ms, event = take(), take(), take(), take(), take()
  local lacks = lacking(lane, member, fresh)
  if lacks then
    replies[i] = 0
    lane.more, lacks.behind = true, true
  elseif redis.call('ZREM', KEYS[1], member) == 0 then
    replies[i] = -1
  else
    local node, events, run = KEYS[first + 3 * i - 2], KEYS[first + 3 * i - 1], KEYS[first + 3 * i]
    local was = redis.call('HMGET', node, 's', 'a', 'l')
    local state = redis.call('HMGET', run, 's', 'pz')
    local live = state[1] == running and not state[2]
    queue.gone(lane, member)
    if live and was[1] == 'ready' and was[2] == attempt and was[3] == launch then
      for _, need in ipairs(lane.needs) do hold(need.pool, need.slots, task, now, lane) end
      queue.charge(lane)
      redis.call('HSET', node, 's', 'starting', 'b', now)
      redis.call('ZADD', KEYS[7], now + start_ms, timer)
      redis.call('ZADD', KEYS[8], now + lease, task)
      redis.call('XADD', events, '*', 'd', event)
      replies[i] = 1
    else
      replies[i] = -1
    end
  end
end
for _, lane in ipairs(lanes) do
  if not fresh or (lane.more and redis.call('HEXISTS', KEYS[3], lane.text) == 0) then queue.file(lane) end
end
queue.close()
return replies
