-- Claim the calls to services that must be looked at: each is leased to the worker.
-- KEYS: calls
-- ARGV: most, lease ms
-- Replies: {ms since the epoch, score of the first that is not due or false, task, ...}
--@include clock
local now = now_ms()
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, task in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[2], task) end
local coming = redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
return {now, coming[2] or false, unpack(due)}
