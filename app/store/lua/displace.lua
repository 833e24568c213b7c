-- Ask for the end of a run that is in the way of a newer one, and mark that: one that waits does so no more, and the place of
-- one that runs is known as that of a run that was asked. One whose run is over is free.
-- KEYS: run, inbox, active, events, receipt, waiting keys of the workflow, running runs of the key, waiting runs of the key
-- ARGV: run id, signal, event (JSON), digest of the key, what a mark takes off the ms, number of terminal states, terminal states...
-- Replies: as cancel.
--@include clock
--@include ended
--@include push
--@include queued
--@include cancel
local state = cancel_run(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[2], ARGV[3], 6)
redis.call('ZREM', KEYS[8], ARGV[1])
if redis.call('EXISTS', KEYS[8]) == 0 then redis.call('SREM', KEYS[6], ARGV[4]) end
if not state or ended(state, 6) then
  redis.call('ZREM', KEYS[7], ARGV[1])
else
  local since = tonumber(redis.call('ZSCORE', KEYS[7], ARGV[1]) or 0)
  if since >= tonumber(ARGV[5]) then redis.call('ZINCRBY', KEYS[7], -tonumber(ARGV[5]), ARGV[1]) end
end
return state
