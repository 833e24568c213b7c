-- Turn a trigger into a run, and acknowledge the trigger, in one step. A redelivered trigger changes nothing.
-- The run begins if its workflow is not paused and its concurrency key has a place; else it waits, or is rejected.
-- Among those of its key it is as old as its trigger: a worker that comes to it late makes it no newer than others.
-- What was asked of it while it had no record but its receipt is done now: it starts paused, or is over at once.
-- KEYS: triggers, receipt, run, inbox, active, events, runs, runs of the workflow, workflow, workflows with waiting runs,
--       waiting keys of the workflow, running runs of the key, waiting runs of the key
-- ARGV: group, entry id, run id, signal, event (JSON), signal of a run that was cancelled before,
--       workflow, digest of the key, runs of the key at a time (0: any number), runs that may go on and wait together
--       (-1: any number), what its rank adds to the ms, why it is rejected ('': its trigger
--       is left to the caller, who looks whether a place can be freed, or tells the run that waits for it), number of run fields, field, value, ...
-- Replies: 'started'; 'waits'; 'rejected'; 'known': the run was there already, or its trigger was rejected or buried.
--@include clock
--@include push
local receipt = redis.call('HMGET', KEYS[2], 's', 'cr', 'pz')
local state, cancelled = receipt[1], receipt[2]
local reply = 'known'
-- a finished run may be packed or gone already
if state ~= 'started' and state ~= 'rejected' and state ~= 'dead' and redis.call('EXISTS', KEYS[3]) == 0 then
  local now, most, limit = now_ms(), tonumber(ARGV[9]), tonumber(ARGV[10])
  local since = tonumber(string.match(ARGV[2], '^(%d+)-')) or now
  if since > now or since < 10 ^ 12 then since = now end -- a clock that was set back, or no clock at all
  local waiting = redis.call('ZCARD', KEYS[13])
  local running = most > 0 and redis.call('ZCARD', KEYS[12]) or 0
  local waits = waiting > 0 or (most > 0 and running >= most) or redis.call('HEXISTS', KEYS[9], 'paused') == 1
  if waits and limit >= 0 and running + waiting >= limit then
    reply = 'rejected'
  else
    reply = 'started'
    local fields = {'c', now}
    for i = 14, 13 + 2 * tonumber(ARGV[13]) do fields[#fields + 1] = ARGV[i] end
    redis.call('HSET', KEYS[3], unpack(fields))
    if receipt[3] then redis.call('HSET', KEYS[3], 'pz', receipt[3]) end
    redis.call('ZADD', KEYS[7], now, ARGV[3])
    redis.call('ZADD', KEYS[8], now, ARGV[3])
    redis.call('XADD', KEYS[6], '*', 'd', ARGV[5])
    if cancelled then
      redis.call('HSET', KEYS[3], 'cr', cancelled)
      push(KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[6])
    elseif waits then
      reply = 'waits'
      redis.call('HSET', KEYS[3], 'qz', now, 'ck', ARGV[8])
      redis.call('ZADD', KEYS[13], ARGV[11] + since, ARGV[3])
      redis.call('SADD', KEYS[11], ARGV[8])
      redis.call('ZADD', KEYS[10], 'NX', now, ARGV[7])
    else
      if most > 0 then
        redis.call('HSET', KEYS[3], 'ck', ARGV[8])
        redis.call('ZADD', KEYS[12], since, ARGV[3])
      end
      push(KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[4])
    end
  end
end
if reply == 'rejected' and ARGV[12] == '' then return reply end
if reply == 'rejected' then
  redis.call('HSET', KEYS[2], 's', 'rejected', 'x', ARGV[12])
elseif state and state ~= 'rejected' and state ~= 'dead' then
  redis.call('HSET', KEYS[2], 's', 'started')
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return reply
