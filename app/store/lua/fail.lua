-- An instance reports that its attempt failed.
-- KEYS: node run, run, inbox, active
-- ARGV: attempt, epoch, run id, signal
-- Replies: {'ok', ''}; {'missing'}; {'stale'}
--@include push
--@include fence
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
push(KEYS[2], KEYS[3], KEYS[4], ARGV[3], ARGV[4])
return {'ok', ''}
