-- A call of a host failed: after enough in a row, or where it was a try, the circuit opens, each time for twice as long.
-- KEYS: circuit
-- ARGV: failures that open it, ms that it stays open the first time, the longest, ms that the record is kept
-- Replies: {failures in a row, ms that it was opened for now or 0}
--@include clock
local f = redis.call('HMGET', KEYS[1], 'f', 'o', 'n')
local failures, opened, now = tonumber(f[1] or '0') + 1, tonumber(f[3] or '0'), now_ms()
redis.call('HSET', KEYS[1], 'f', failures)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if failures < tonumber(ARGV[1]) or tonumber(f[2] or '0') > now then return {failures, 0} end
local pause = math.min(tonumber(ARGV[2]) * 2 ^ math.min(opened, 20), tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'o', now + pause, 'n', opened + 1)
redis.call('HDEL', KEYS[1], 'p')
return {failures, pause}
