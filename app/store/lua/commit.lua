-- Commit a decision: compare everything, then write everything, then acknowledge.
-- KEYS: run, inbox, active, events, joins, queue, timers, launches, dead, node runs..., calls, holders of pools...,
--       then those of the admission (see lib/admission.lua), those that the extras name,
--       then where the run ends: running runs and waiting runs of its concurrency key (or any two), finished
-- ARGV: run id, group, entry id of active, revision, consumed signals, then sections, each led by its number of members:
--       run fields (field, value); node runs (status, attempt, ms when won, number of fields, field, value, ...), in the order of
--       KEYS; joins (field, value); timers to set (score, member); timers to remove (member); ready without asking for slots here
--       (member of the queue); no longer ready (member of the queue); release (task); slots given back (slots of each, number of
--       tasks, tasks), in the order of KEYS; then the number of keys of the admission, and where it has any its arguments;
--       then events (a JSON list, or ''), without a number; then signals to append (JSON);
--       dead letters (reason, JSON); calls to services that were given up (task);
--       where the run ends and has a concurrency key (one member): anything;
--       where the run ends (one member): ms when it is due in `finished`;
--       extras, which most commits do not have, each naming its key by its number behind those of the admission:
--       hash fields (key, field, value); sorted members (key, score); values (key, value, ms to keep it);
--       triggers (key of the stream, of the receipt, receipt id, payload, ms to keep the receipt, number of its fields, field,
--       value, ...); signals of other runs (key of the run, of its inbox, of the pins of this run, run id, signal); runs to cancel
--       (key of the run, of its inbox, of its events, of its receipt, run id, signal, event), behind the number of terminal states
--       and these; an end that run triggers may wait for (key of those that do, of the stream, payload)
-- Replies: {1, revision, verdicts of the admission}; {0, 'revision'} or {0, 'node', index} when something is not as it was read:
--          nothing is written.
--@include clock
--@include push
--@include ended
--@include queued
--@include cancel
--@include used
--@include lanes
--@include take
--@include spread
--@include admission
position = 6
local function rows(width)
  local values = {}
  for i = 1, width * tonumber(take()) do values[i] = take() end
  return values
end

if (redis.call('HGET', KEYS[1], 'k') or '0') ~= ARGV[4] then return {0, 'revision'} end
local run_fields = rows(2)
run_fields[#run_fields + 1], run_fields[#run_fields + 2] = 'k', tonumber(ARGV[4]) + 1
local nodes, made = {}, {}
local count = tonumber(take())
for i = 1, count do
  local status, attempt, won = take(), take(), take()
  if status ~= 'pending' then -- only a commit begins a node run, so the revision says that it has not begun
    local now = redis.call('HMGET', KEYS[9 + i], 's', 'a', 'w')
    if now[1] ~= status or (now[2] or '0') ~= attempt or (now[3] or '0') ~= won then -- maps and waits have no attempt
      return {0, 'node', i}
    end
  end
  nodes[i] = rows(2)
  made[KEYS[9 + i]] = nodes[i]
end

redis.call('HSET', KEYS[1], unpack(run_fields))
spread('HSET', KEYS[5], rows(2))
spread('ZADD', KEYS[7], rows(2))
spread('ZREM', KEYS[7], rows(1))
local ready = rows(1)
for i = #ready, 1, -1 do ready[2 * i - 1], ready[2 * i] = 0, ready[i] end
spread('ZADD', KEYS[6], ready)
spread('ZREM', KEYS[6], rows(1))
spread('ZREM', KEYS[8], rows(1))
local pools = tonumber(take())
for i = 1, pools do
  local holders, slots, tasks = KEYS[10 + count + i], tonumber(take()), rows(1)
  local freed = redis.call('HDEL', holders, unpack(tasks))
  if slots > 1 and freed > 0 and redis.call('HINCRBY', holders, '+', -(slots - 1) * freed) == 0 then
    redis.call('HDEL', holders, '+')
  end
end
local asked, verdicts, told = tonumber(take()), {}, {}
if asked > 0 then verdicts, told = admission(10 + count + pools, made) end
for i, fields in ipairs(nodes) do redis.call('HSET', KEYS[9 + i], unpack(fields)) end
local events = take()
if #told > 0 then
  events = (events == '' and '[' or string.sub(events, 1, -2) .. ',') .. table.concat(told, ',') .. ']'
end
if events ~= '' then redis.call('XADD', KEYS[4], '*', 'd', events) end
local consumed = tonumber(ARGV[5])
if consumed > 0 then redis.call('LTRIM', KEYS[2], consumed, -1) end
spread('RPUSH', KEYS[2], rows(1))
for _ = 1, tonumber(take()) do
  local reason, body = take(), take()
  redis.call('XADD', KEYS[9], '*', 'kind', 'run', 'id', ARGV[1], 'reason', reason, 'd', body)
end
for _ = 1, tonumber(take()) do redis.call('ZADD', KEYS[10 + count], 'XX', 0, take()) end
for _ = 1, tonumber(take()) do
  take()
  redis.call('ZREM', KEYS[#KEYS - 2], ARGV[1])
  redis.call('ZREM', KEYS[#KEYS - 1], ARGV[1])
end
for _ = 1, tonumber(take()) do redis.call('ZADD', KEYS[#KEYS], take(), ARGV[1]) end
if position <= #ARGV then
  local function key() return KEYS[10 + count + pools + asked + tonumber(take())] end
  for _ = 1, tonumber(take()) do
    local name, field, value = key(), take(), take()
    redis.call('HSET', name, field, value)
  end
  for _ = 1, tonumber(take()) do
    local name, member = key(), take()
    redis.call('ZADD', name, member, member)
  end
  for _ = 1, tonumber(take()) do
    local name, value, ms = key(), take(), take()
    redis.call('SET', name, value, 'PX', ms)
  end
  for _ = 1, tonumber(take()) do
    local stream, receipt, id, payload, ms = key(), key(), take(), take(), take()
    local fields = {}
    for _ = 1, 2 * tonumber(take()) do fields[#fields + 1] = take() end
    redis.call('HSET', receipt, unpack(fields))
    redis.call('PEXPIRE', receipt, ms)
    redis.call('XADD', stream, '*', 'v', '3', 't', id, 'd', payload)
  end
  for _ = 1, tonumber(take()) do
    local run, inbox, pins, id, signal = key(), key(), key(), take(), take()
    if redis.call('EXISTS', run) == 1 then
      push(run, inbox, KEYS[3], id, signal)
      redis.call('SADD', pins, id) -- what its output names is kept as long as who takes it
    end
  end
  local terminal = position
  for _ = 1, tonumber(take()) do take() end
  for _ = 1, tonumber(take()) do
    local run, inbox, events, receipt, id, signal, event = key(), key(), key(), key(), take(), take(), take()
    cancel_run(run, inbox, KEYS[3], events, receipt, id, signal, event, terminal)
  end
  for _ = 1, tonumber(take()) do
    local waiting, stream, payload = key(), key(), take()
    if redis.call('EXISTS', waiting) == 1 then redis.call('XADD', stream, '*', 'v', '3', 't', '', 'd', payload) end
  end
end
if redis.call('LLEN', KEYS[2]) > 0 then
  redis.call('HSET', KEYS[1], 'ac', '1')
  redis.call('XADD', KEYS[3], '*', 'r', ARGV[1])
else
  redis.call('HDEL', KEYS[1], 'ac')
end
redis.call('XACK', KEYS[3], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[3], ARGV[3])
return {1, tonumber(ARGV[4]) + 1, verdicts}
