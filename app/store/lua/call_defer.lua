-- A launch of a service node cannot begin now: its run hears of it, and its submission ends.
-- KEYS: node run, run, inbox, active, launches
-- ARGV: task, attempt, launch, run id, signal, status of a launch that has not begun
-- Replies: 1; 0 when the launch is not the node run's live one any more.
--@include push
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l')
redis.call('ZREM', KEYS[5], ARGV[1])
if f[1] ~= ARGV[6] or f[2] ~= ARGV[2] or f[3] ~= ARGV[3] then return 0 end
push(KEYS[2], KEYS[3], KEYS[4], ARGV[4], ARGV[5])
return 1
