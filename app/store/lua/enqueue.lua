-- Move tasks that an older release made ready into the queue.
-- KEYS: ready, queue
-- ARGV: task, member of the queue or '' to drop it, ...
-- Replies: how many were moved.
local moved = 0
for i = 1, #ARGV, 2 do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 and ARGV[i + 1] ~= '' then
    redis.call('ZADD', KEYS[2], 0, ARGV[i + 1])
    moved = moved + 1
  end
end
return moved
