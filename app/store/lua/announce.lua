-- A worker is live for a while longer.
-- KEYS: workers, worker-info
-- ARGV: worker, ms, record (JSON)
-- Replies: 1
--@include clock
redis.call('ZADD', KEYS[1], now_ms() + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1
