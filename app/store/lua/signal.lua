-- Add a signal to a run's inbox; when it stands for a due timer, take the timer away in the same step.
-- KEYS: run, inbox, active[, timers]
-- ARGV: run id, signal[, member of timers, the score it was read with]
-- Replies: 1 added; 0 there is no such run, or the timer is gone or was moved.
--@include push
if KEYS[4] then
  local score = redis.call('ZSCORE', KEYS[4], ARGV[3])
  if not score or tonumber(score) ~= tonumber(ARGV[4]) then return 0 end
  redis.call('ZREM', KEYS[4], ARGV[3])
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
push(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2])
return 1
