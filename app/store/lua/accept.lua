-- Accept a trigger: dedupe and enqueue in one step, so that what was answered is on disk and never twice.
-- KEYS: triggers, receipt[, dedupe or, with ARGV 14, marks]
-- ARGV: max depth of triggers, payload (JSON), receipt id, run id, workflow, source, digest of the body,
--       dedupe TTL ms, receipt TTL ms, state ('queued', 'dead' or 'filtered'), reason, version, version of the entry
--       [, field of marks, the mark it moves to]
-- Replies: {'ok'}; {'repeat', receipt id, run id} for a key used before with this body;
--          {'conflict'} for one used with another body; {'full'} past the depth;
--          {'passed'} where the mark stands there or further, or is gone. Nothing is written but for 'ok'.
--@include clock
local depth, payload, receipt, run = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local marked = ARGV[14] and redis.call('HGET', KEYS[3], ARGV[14])
if ARGV[14] and (not marked or tonumber(marked) >= tonumber(ARGV[15])) then return {'passed'} end
if KEYS[3] and not ARGV[14] then
  local first = redis.call('GET', KEYS[3])
  if first then
    local old_receipt, old_run, old_digest = string.match(first, '^(%S*) (%S*) (%S*)$')
    if old_digest ~= ARGV[7] then return {'conflict'} end
    return {'repeat', old_receipt, old_run}
  end
end
local queued = ARGV[10] == 'queued'
if queued and redis.call('XLEN', KEYS[1]) >= depth then return {'full'} end
if ARGV[14] then
  redis.call('HSET', KEYS[3], ARGV[14], ARGV[15])
elseif KEYS[3] then
  redis.call('SET', KEYS[3], receipt .. ' ' .. run .. ' ' .. ARGV[7], 'PX', ARGV[8])
end
redis.call('HSET', KEYS[2], 's', ARGV[10], 'w', ARGV[5], 'v', ARGV[12], 'src', ARGV[6], 'r', run, 'c', now_ms())
if queued then
  redis.call('XADD', KEYS[1], '*', 'v', ARGV[13], 't', receipt, 'd', payload)
else
  redis.call('HSET', KEYS[2], 'x', ARGV[11], 'd', payload)
end
redis.call('PEXPIRE', KEYS[2], ARGV[9])
return {'ok'}
