-- A finished run whose time has come takes no pins from now on: what it names is about to be removed.
-- KEYS: pins
-- ARGV: number of pins that were looked at, the mark that says so
-- Replies: number of members of the pins now; -1 when another run has pinned it meanwhile: nothing is changed.
if redis.call('SCARD', KEYS[1]) ~= tonumber(ARGV[1]) then return -1 end
redis.call('SADD', KEYS[1], ARGV[2])
return redis.call('SCARD', KEYS[1])
