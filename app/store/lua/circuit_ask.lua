-- Whether a host may be called. While its circuit is half open one caller at a time may try.
-- KEYS: circuit
-- ARGV: ms that the one who tries has
-- Replies: {0, failures in a row}: call it; {ms until it may be asked again, failures in a row}.
--@include clock
local f = redis.call('HMGET', KEYS[1], 'f', 'o', 'p')
if not f[2] then return {0, tonumber(f[1] or '0')} end
local now = now_ms()
local until_ = math.max(tonumber(f[2]), tonumber(f[3] or '0'))
if until_ > now then return {until_ - now, tonumber(f[1])} end
redis.call('HSET', KEYS[1], 'p', now + ARGV[1])
return {0, tonumber(f[1])}
