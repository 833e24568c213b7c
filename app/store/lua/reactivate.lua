-- Put runs that have signals into `active`, whatever their mark says: for when the stream was lost. Once too often does no harm.
-- KEYS: active, then for each run: run, inbox
-- ARGV: run ids
-- Replies: how many had signals.
local count = 0
for i, id in ipairs(ARGV) do
  if redis.call('LLEN', KEYS[2 * i + 1]) > 0 then
    redis.call('HSET', KEYS[2 * i], 'ac', '1')
    redis.call('XADD', KEYS[1], '*', 'r', id)
    count = count + 1
  end
end
return count
