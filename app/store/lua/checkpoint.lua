-- Record checkpoints of one instance, in order, all or none. The final one becomes a signal for the run.
-- KEYS: node run, run, inbox, active, events, timers
-- ARGV: attempt, epoch, run id, timer member, ms that finalize may take after output, signal of the final checkpoint,
--       number of entries, then for each: number of the step (1 configure .. 4 finalize), seq or '', digest, data, metadata,
--       done, total, event (JSON)
-- Replies: {'ok', why it must stop or ''}; {'missing'}; {'stale'}; {'order', number of the step that is expected};
--          {'seq', the recorded seq}; {'differs', number of the step recorded with other content}
--@include clock
--@include push
local DIGESTS = {'kc', 'ke', 'ko', 'kf'}
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'e', 'p', 'q', 't', 'kc', 'ke', 'ko', 'kf')
if not f[1] then return {'missing'} end
local ended = f[1] == 'succeeded'
if (f[1] ~= 'running' and not ended) or f[2] ~= ARGV[1] or f[3] ~= ARGV[2] then return {'stale'} end
local last, seq = tonumber(f[4] or '0'), tonumber(f[5] or '-1')
local digests = {f[7], f[8], f[9], f[10]}
local writes, events, finished, won = {}, {}, false, false
local at = 8
for _ = 1, tonumber(ARGV[7]) do
  local step, entry_seq, digest = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local stamp = ARGV[2] .. ':' .. digest
  if entry_seq ~= '' then
    local number = tonumber(entry_seq)
    if number < seq then return {'seq', seq} end
    if number > seq then
      if last ~= 1 then return {'order', last + 1} end
      seq = number
      writes.q, writes.d = number, ARGV[at + 3]
    end
  elseif step <= last then
    local known = digests[step] or ''
    local same_epoch = string.sub(known, 1, #ARGV[2] + 1) == ARGV[2] .. ':'
    if known ~= stamp and (same_epoch or (step == 3 and string.match(known, ':(.*)$') ~= digest)) then
      return {'differs', step}
    end
  elseif step == last + 1 then
    last = step
    digests[step] = stamp
    writes.p, writes[DIGESTS[step]] = step, stamp
    events[#events + 1] = ARGV[at + 7]
    if step == 3 then
      won = true
      writes.m = ARGV[at + 4]
    end
    finished = finished or step == 4
  else
    return {'order', last + 1}
  end
  if ARGV[at + 5] ~= '' then writes.pd, writes.pt = ARGV[at + 5], ARGV[at + 6] end
  at = at + 8
end
if ended then return {'ok', ''} end
local now = now_ms()
if won then writes.w = now end
local flat = {'h', now}
for field, value in pairs(writes) do flat[#flat + 1], flat[#flat + 2] = field, value end
redis.call('HSET', KEYS[1], unpack(flat))
if #events > 0 then redis.call('XADD', KEYS[5], '*', 'd', '[' .. table.concat(events, ',') .. ']') end
if won and not finished then redis.call('ZADD', KEYS[6], now + ARGV[5], ARGV[4]) end
if finished then push(KEYS[2], KEYS[3], KEYS[4], ARGV[3], ARGV[6]) end
return {'ok', won and '' or f[6] or ''}
