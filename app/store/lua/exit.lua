-- A launch ended. Most ends need no signal: the final checkpoint said it all.
-- KEYS: node run, run, inbox, active
-- ARGV: attempt, launch, run id, signal, number of the final step, live states...
-- Replies: 1 signalled; 0 the attempt is over, or its final checkpoint is in the inbox.
--@include push
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l', 'p')
if f[2] ~= ARGV[1] or f[3] ~= ARGV[2] or f[4] == ARGV[5] then return 0 end
for i = 6, #ARGV do
  if f[1] == ARGV[i] then
    push(KEYS[2], KEYS[3], KEYS[4], ARGV[3], ARGV[4])
    return 1
  end
end
return 0
