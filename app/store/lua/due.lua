-- Which timers are due by the server's clock. Writes nothing.
-- KEYS: timers
-- ARGV: most
-- Replies: {ms since the epoch, score of the first that is not due or false, member, score, ...}
--@include clock
local now = now_ms()
local reply = {now, false}
for _, value in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')) do
  reply[#reply + 1] = value
end
local coming = redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
if coming[2] then reply[2] = coming[2] end
return reply
