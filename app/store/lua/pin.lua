-- A run refers to another one: that one is kept while the first is.
-- KEYS: run, packed, pins
-- ARGV: the run that refers to it, the mark of a run that is about to be removed
-- Replies: 1; 0 when there is no such run any more, or soon will not be.
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then return 0 end
if redis.call('SISMEMBER', KEYS[3], ARGV[2]) == 1 then return 0 end
redis.call('SADD', KEYS[3], ARGV[1])
return 1
