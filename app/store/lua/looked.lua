-- A page of the waiting keys of a workflow was looked at: the next look goes on from here, at once where there is more.
-- KEYS: workflows with waiting runs, waiting keys of the workflow, workflow
-- ARGV: workflow, place of the next page ('0': this was the last)
-- Replies: 1 where the workflow has waiting runs still, else 0
--@include clock
local waits = redis.call('EXISTS', KEYS[2])
if waits == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
if waits == 1 and ARGV[2] ~= '0' and redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('HSET', KEYS[3], 'look', ARGV[2])
  redis.call('ZADD', KEYS[1], 'XX', 'LT', now_ms(), ARGV[1])
else
  redis.call('HDEL', KEYS[3], 'look')
end
return waits
