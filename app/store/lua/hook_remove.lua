-- Removes a hook.
-- KEYS 1 w:NAME:hooks  2 h:DIGEST
-- ARGV 1 hook id
-- Replies 1 removed, 0 there was none
redis.call('DEL', KEYS[2])
return redis.call('HDEL', KEYS[1], ARGV[1])
