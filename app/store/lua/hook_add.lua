-- Adds a hook to a workflow unless one of that id exists.
-- KEYS 1 w:NAME:hooks  2 h:DIGEST
-- ARGV 1 hook id  2 its record as JSON  3 "workflow id"
-- Replies 1 added, 0 the id is taken (nothing was changed)
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[3])
return 1
