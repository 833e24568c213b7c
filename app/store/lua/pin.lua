-- A run refers to another one: that one is kept while the first is.
-- KEYS: run, packed, pins
-- ARGV: the run that refers to it
-- Replies: 1; 0 when there is no such run any more.
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then return 0 end
redis.call('SADD', KEYS[3], ARGV[1])
return 1
