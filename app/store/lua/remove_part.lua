-- Remove some keys of a run that is being removed, and remember how far that is.
-- KEYS: finished, gone, removal, then keys to remove
-- ARGV: run id, ms, where to go on, or '' when these were the last
-- Replies: 1
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
if ARGV[3] ~= '' then
  if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('HSET', KEYS[3], 'c', ARGV[3]) end
else
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
