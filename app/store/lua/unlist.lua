-- Keys and workflows of which nothing waits need no look any more.
-- KEYS: workflows with waiting runs, waiting keys of one of them, waiting runs of a key
-- ARGV: workflow, digest of the key
-- Replies: 1 where the workflow has waiting runs still, else 0
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('SREM', KEYS[2], ARGV[2]) end
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
