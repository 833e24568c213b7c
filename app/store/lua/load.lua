-- Read what a decision begins with. Writes nothing.
-- KEYS: run, inbox, resumed
-- ARGV: most signals, then the fields of the run
-- Replies: {fields of the run, signals, ms since the epoch, ms of the last pause or false}
--@include clock
local fields = {}
for i = 2, #ARGV do fields[#fields + 1] = ARGV[i] end
return {
  redis.call('HMGET', KEYS[1], unpack(fields)),
  redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1),
  now_ms(),
  redis.call('GET', KEYS[3]),
}
