-- A child run cannot be started: acknowledge its trigger, say why in its receipt, and tell the run that waits for it, in one step.
-- KEYS: triggers, receipt, run that waits, its inbox, active
-- ARGV: group, entry id, reason, id of the run that waits, signal
-- Replies: 1, or 0 where the trigger is not in the stream any more.
--@include push
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 's', 'rejected', 'x', ARGV[3]) end
if redis.call('EXISTS', KEYS[3]) == 1 then push(KEYS[3], KEYS[4], KEYS[5], ARGV[4], ARGV[5]) end
return 1
