-- Lanes of waiting tasks, and the pools they need.
-- A pool here: {name, holders (key), turns (key), default}; a lane: {text, workflow, type, priority, needs = {{pool, slots}, ...}}.

-- read_pools(keys, pools): adds `free` (nil: no limit), `waits` (nil: nobody waits), `owner` and `aside` (a reservation).
local function read_pools(keys, pools)
  if #pools == 0 then return end
  local names = {}
  for i, pool in ipairs(pools) do names[i] = pool.name end
  local slots = redis.call('HMGET', keys[6], unpack(names))
  local waits = redis.call('HMGET', keys[2], unpack(names))
  for i, pool in ipairs(pools) do
    local limit = tonumber(slots[i] or pool.default)
    pool.named = pool.name ~= 'global' and not string.find(pool.name, ':', 1, true)
    if pool.named and not slots[i] then redis.call('HSET', keys[6], pool.name, limit) end -- from its first use on it is seen
    if limit then pool.free = limit - used(pool.holders, pool.named) end
    pool.waits = waits[i] or nil
    if pool.waits and pool.waits ~= '' then
      local aside, owner = string.match(pool.waits, '^(%d+) (.*)$')
      pool.aside, pool.owner = tonumber(aside), owner
    end
  end
end

-- lacking(lane, member, fresh): the first pool that has no room for it, or, for a fresh one, where others wait (or are about
-- to: `behind`); else nil.
local function lacking(lane, member, fresh)
  for _, need in ipairs(lane.needs) do
    local pool = need.pool
    if fresh and (pool.waits or pool.behind) then return pool end
    if pool.free then
      local kept = (pool.owner and pool.owner ~= member) and pool.aside or 0
      if pool.free - kept < need.slots then return pool end
    end
  end
  return nil
end

-- hold(pool, slots, task, now, lane): the task is a holder from now on, where the pool has a limit. `pool.held` is written at the end.
local function hold(pool, slots, task, now, lane)
  if not pool.free then return end
  pool.free = pool.free - slots
  local held = pool.held
  held[#held + 1], held[#held + 2] = task, now .. ' ' .. slots .. ' ' .. lane.workflow .. ' ' .. lane.type
  if slots > 1 then redis.call('HINCRBY', pool.holders, '+', slots - 1) end
end

-- Queue(keys, step, patience, TURN, now, fresh): what is done with lanes; `close` writes what was counted.
local function Queue(keys, step, patience, TURN, now, fresh)
  local shares, changed, emptied = {}, {}, false
  local self = {}

  -- virtual times are whole numbers below 10^15; %.0f writes them exactly
  local function share(name)
    if not shares[name] then shares[name] = tonumber(redis.call('HGET', keys[5], name) or '0') end
    return shares[name]
  end

  local function set_share(name, value)
    shares[name], changed[name] = value, true
  end

  local function placed(lane)
    if lane.placed == nil then
      local name, ms = string.match(redis.call('HGET', keys[3], lane.text) or '', '^(%S+) (%d+)$')
      lane.placed, lane.headed = false, tonumber(ms)
      for _, need in ipairs(lane.needs) do
        if need.pool.name == name then
          lane.placed = need.pool
          local score = tonumber(redis.call('ZSCORE', need.pool.turns, lane.text) or '0')
          lane.tag = score % TURN
        end
      end
    end
    return lane.placed
  end

  local function unmark(pool)
    if pool.owner or redis.call('EXISTS', pool.turns) == 1 then
      if not pool.owner then
        redis.call('HSET', keys[2], pool.name, '')
        pool.waits = ''
      end
    else
      redis.call('HDEL', keys[2], pool.name)
      pool.waits, emptied = nil, true
    end
  end

  local function unplace(lane)
    local pool = placed(lane)
    if pool then
      redis.call('ZREM', pool.turns, lane.text)
      lane.placed = false
      unmark(pool)
    end
  end

  -- gone(lane, member): a member left the queue; what was reserved for it is free again.
  function self.gone(lane, member)
    for _, need in ipairs(lane.needs) do
      local pool = need.pool
      if pool.owner == member then
        pool.owner, pool.aside = nil, nil
        unmark(pool)
      end
    end
  end

  -- charge(lane): one of the lane was admitted. Where nobody waits nothing is counted.
  function self.charge(lane)
    if fresh or not placed(lane) then return end
    local cost = 1
    for _, need in ipairs(lane.needs) do cost = math.max(cost, need.slots) end
    local start = math.max(lane.tag, share(lane.workflow))
    set_share('*', math.max(share('*'), start))
    set_share(lane.workflow, start + cost)
    lane.tag, lane.headed = start + cost, now
  end

  local function reserve(lane, head)
    for _, need in ipairs(lane.needs) do
      local pool = need.pool
      if pool.free then
        if pool.owner and pool.owner ~= head and redis.call('ZSCORE', keys[1], pool.owner) then return end
        pool.owner, pool.aside, pool.waits = head, need.slots, need.slots .. ' ' .. head
        redis.call('HSET', keys[2], pool.name, pool.waits)
        if pool.free < need.slots then return end
      end
    end
  end

  -- file(lane): give the lane its turn in the queue of the pool that its head lacks; an empty lane is taken out.
  function self.file(lane)
    local head = redis.call('ZRANGE', keys[1], '[' .. lane.text .. '|', '(' .. lane.text .. '}', 'BYLEX', 'LIMIT', 0, 1)[1]
    local pool = placed(lane)
    if not head then
      unplace(lane)
      redis.call('HDEL', keys[3], lane.text)
      redis.call('ZREM', keys[4], lane.text)
      return
    end
    local since = tonumber(string.match(string.sub(head, #lane.text + 2), '^%d+'))
    local headed = math.max(since, lane.headed or 0) -- a lane whose turn comes does not grow urgent, however long it is
    local urgency = math.max(1, lane.priority - math.floor(math.max(now - headed, 0) / step))
    local due = headed + (lane.priority - urgency + 1) * step
    if urgency == 1 then
      due = headed + (lane.priority - 1) * step + patience
      if now >= due then
        reserve(lane, head)
        due = now + step / 60
      end
    end
    local tag = math.max(pool and lane.tag or share('*'), share(lane.workflow))
    local place = lacking(lane, head, false) or pool or lacking(lane, head, true) or lane.needs[1].pool
    if place ~= pool then
      unplace(lane)
      if not place.waits then
        place.waits = ''
        redis.call('HSET', keys[2], place.name, '')
      end
      lane.placed = place
    end
    lane.tag = tag
    redis.call('HSET', keys[3], lane.text, place.name .. string.format(' %.0f', headed))
    redis.call('ZADD', place.turns, string.format('%.0f', urgency * TURN + tag), lane.text)
    redis.call('ZADD', keys[4], string.format('%.0f', due), lane.text)
  end

  -- close(): when nobody waits any more, shares begin anew.
  function self.close()
    if emptied and redis.call('EXISTS', keys[2]) == 0 then
      redis.call('DEL', keys[5])
      return
    end
    for name in pairs(changed) do redis.call('HSET', keys[5], name, string.format('%.0f', shares[name])) end
  end

  return self
end
