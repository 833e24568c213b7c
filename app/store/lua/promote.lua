-- Let the first waiting run of a concurrency key begin, if there is a place for it.
-- KEYS: workflow, its waiting keys, running runs of the key, waiting runs of the key, run, inbox, active
-- ARGV: run id, signal, runs of the key at a time (0: any number), digest of the key, status of a run that waits,
--       what a priority adds to the ms
-- Replies: 'started'; 'gone': it waits no more, and is dropped; 'moved': another is first; 'paused'; 'full'
--@include clock
--@include push
if redis.call('HEXISTS', KEYS[1], 'paused') == 1 then return 'paused' end
local head = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if head[1] ~= ARGV[1] then return 'moved' end
local most = tonumber(ARGV[3])
local waits = redis.call('HGET', KEYS[5], 's') == ARGV[5]
if waits and most > 0 and redis.call('ZCARD', KEYS[3]) >= most then return 'full' end
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('SREM', KEYS[2], ARGV[4]) end
if not waits then return 'gone' end
if most > 0 then redis.call('ZADD', KEYS[3], tonumber(head[2]) % tonumber(ARGV[6]), ARGV[1]) end
redis.call('HDEL', KEYS[5], 'qz')
push(KEYS[5], KEYS[6], KEYS[7], ARGV[1], ARGV[2])
return 'started'
