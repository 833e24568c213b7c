-- Put a dead trigger into the queue again, under its own receipt, in one step.
-- KEYS: triggers, receipt, dead
-- ARGV: max depth of triggers, payload (JSON), receipt id, run id, version, version of the entry, receipt TTL ms
-- Replies: 'ok'; 'full' past the depth; 'changed' where it is not dead any more. Nothing is written but for 'ok'.
local found = redis.call('HMGET', KEYS[2], 's', 'de')
if found[1] ~= 'dead' then return 'changed' end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 'full' end
if found[2] then redis.call('XDEL', KEYS[3], found[2]) end
redis.call('HSET', KEYS[2], 's', 'queued', 'r', ARGV[4], 'v', ARGV[5])
redis.call('HDEL', KEYS[2], 'x', 'd', 'de')
redis.call('XADD', KEYS[1], '*', 'v', ARGV[6], 't', ARGV[3], 'd', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return 'ok'
