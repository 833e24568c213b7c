-- Takes a workflow out of use: nothing fires it any more.
-- KEYS 1 w:NAME  2 schedules  3 w:NAME:ticks  4 listening
-- ARGV 1 name  2 now in ms
-- Replies 1
redis.call('HSETNX', KEYS[1], 'archived', ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[4], 'XX', ARGV[2], ARGV[1])
return 1
