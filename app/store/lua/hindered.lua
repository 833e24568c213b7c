-- Why an executor cannot run a launch yet, or that nothing hinders it any more.
-- KEYS: node run
-- ARGV: attempt, launch, record (JSON), live states...
-- Replies: 1; 0 when the launch is not the node run's live one.
--@include clock
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l', 'r')
if f[2] ~= ARGV[1] or f[3] ~= ARGV[2] then return 0 end
for i = 4, #ARGV do
  if f[1] == ARGV[i] then
    redis.call('HSET', KEYS[1], 'er', ARGV[3])
    if f[4] and f[4] ~= '0' then redis.call('HSET', KEYS[1], 'h', now_ms()) end -- what is not there cannot give a sign of life
    return 1
  end
end
return 0
