-- admission(base, made): admit ready node runs, as the arguments from `position` on say: each takes a slot of all its pools, its
-- submission is leased to the worker, its start timer runs. Files the lanes of those that must wait.
-- With `made` they are what the commit around it makes ready (its writes by key, to which those of the admission are added): not
-- in the queue yet, they go there only where they must wait.
-- KEYS, from base + 1 on: queue, waits, filed, aging, shares, pools, timers, launches, then for each pool: its holders, its turns,
--       then for each run: the run, its events; then the node run of each task
-- ARGV: 'new' (just made ready: waits where others wait) or 'turn' (chosen from the queue; every lane is filed anew),
--       lease ms, status of a run whose nodes may start, ms of a step of urgency, ms of patience, what an urgency counts,
--       number of pools, for each: name, slots where none are set or '' for no limit;
--       number of lanes, for each: lane, workflow, type, priority, '1' if more of it waits, number of its pools,
--         for each, in the order of names: index, slots;
--       number of runs;
--       number of tasks, for each: index of its lane, of its run, member of the queue, task, timer member, attempt, launch,
--         start timeout ms, event (JSON)
-- Returns: a list with 1 for each admitted task, 0 for one that must wait,
--          -1 for one that is not ready any more, or whose run is paused (not in the queue any more; resume puts it back);
--          and the events of the tasks that were admitted where they were made, for the commit to tell.
local function admission(base, made)
  local keys = {unpack(KEYS, base + 1, base + 8)}
  local fresh, lease, running = take() == 'new', take(), take()
  local step, patience, turn = tonumber(take()), tonumber(take()), tonumber(take())
  local now, pools = now_ms(), {}
  for i = 1, tonumber(take()) do
    pools[i] = {name = take(), default = take(), holders = KEYS[base + 7 + 2 * i], turns = KEYS[base + 8 + 2 * i], held = {}}
  end
  read_pools(keys, pools)
  local lanes = {}
  for i = 1, tonumber(take()) do
    local lane = {text = take(), workflow = take(), type = take(), priority = tonumber(take()), more = take() == '1', needs = {}}
    for j = 1, tonumber(take()) do lane.needs[j] = {pool = pools[tonumber(take())], slots = tonumber(take())} end
    lanes[i] = lane
  end
  local runs, first = {}, base + 8 + 2 * #pools
  for i = 1, tonumber(take()) do
    local state = redis.call('HMGET', KEYS[first + 2 * i - 1], 's', 'pz')
    runs[i] = {live = state[1] == running and not state[2], events = {}, stream = KEYS[first + 2 * i]}
  end
  first = first + 2 * #runs

  local queue = Queue(keys, step, patience, turn, now, fresh)
  local replies, timers, launches, wait = {}, {}, {}, {}
  for i = 1, tonumber(take()) do
    local lane, run, member, task = lanes[tonumber(take())], runs[tonumber(take())], take(), take()
    local timer, attempt, launch, start_ms, event = take(), take(), take(), take(), take()
    local lacks = lacking(lane, member, fresh)
    if lacks then
      replies[i] = 0
      lane.more, lacks.behind = true, true
      if made then wait[#wait + 1], wait[#wait + 2] = 0, member end
    elseif not made and redis.call('ZREM', keys[1], member) == 0 then
      replies[i] = -1
    else
      local node, live = KEYS[first + i], run.live
      if not made then
        queue.gone(lane, member)
        local was = redis.call('HMGET', node, 's', 'a', 'l')
        live = live and was[1] == 'ready' and was[2] == attempt and was[3] == launch
      end
      replies[i] = live and 1 or -1
      if live then
        for _, need in ipairs(lane.needs) do hold(need.pool, need.slots, task, now, lane) end
        queue.charge(lane)
        if made then
          local writes = made[node]
          local n = #writes
          writes[n + 1], writes[n + 2], writes[n + 3], writes[n + 4] = 's', 'starting', 'b', now
        else
          redis.call('HSET', node, 's', 'starting', 'b', now)
        end
        timers[#timers + 1], timers[#timers + 2] = now + start_ms, timer
        launches[#launches + 1], launches[#launches + 2] = now + lease, task
        run.events[#run.events + 1] = event
      end
    end
  end
  for _, pool in ipairs(pools) do spread('HSET', pool.holders, pool.held) end
  spread('ZADD', keys[7], timers)
  spread('ZADD', keys[8], launches)
  spread('ZADD', keys[1], wait)
  for _, lane in ipairs(lanes) do
    if not fresh or (lane.more and redis.call('HEXISTS', keys[3], lane.text) == 0) then queue.file(lane) end
  end
  queue.close()
  if made then return replies, runs[1].events end
  for _, run in ipairs(runs) do
    if #run.events > 0 then redis.call('XADD', run.stream, '*', 'd', '[' .. table.concat(run.events, ',') .. ']') end
  end
  return replies
end
