-- Stores one version of a node type; a stored version never changes.
-- KEYS 1 nt:NAME  2 node-types
-- ARGV 1 name  2 version  3 the node type as JSON  4 the newest version as the caller saw it ("" : do not compare)
-- Replies {"moved"}          the newest version is another: read again and call again
--         {"taken", stored}  the version exists: the stored JSON
--         {"created"}
local newest = redis.call('HGET', KEYS[2], ARGV[1]) or '0'
if ARGV[4] ~= '' and newest ~= ARGV[4] then return {'moved'} end
local stored = redis.call('HGET', KEYS[1], ARGV[2])
if stored then return {'taken', stored} end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if tonumber(ARGV[2]) > tonumber(newest) then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
return {'created'}
