-- Read what a decision begins with, and, where its worker has a guess at its signals, the node runs that these need. Writes nothing.
-- KEYS: run, inbox, resumed; with a guess: joins, node runs...
-- ARGV: most signals; with a guess: what load_nodes.lua takes
-- Replies: {RUN_FIELDS, signals, ms since the epoch, ms of the last pause or false, with a guess: what load_nodes.lua replies}
--@include clock
--@include read_nodes
--@list RUN_FIELDS
return {
  redis.call('HMGET', KEYS[1], unpack(RUN_FIELDS)),
  redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1),
  now_ms(),
  redis.call('GET', KEYS[3]),
  KEYS[4] and read_nodes(KEYS[4], 5, 2),
}
