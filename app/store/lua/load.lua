-- Read what a decision begins with, and, where its worker has a guess at its signals, the node runs that these need. Writes nothing.
-- KEYS: run, inbox, resumed; with a guess: joins, node runs...
-- ARGV: most signals, number of fields of the run, these; with a guess: what load_nodes.lua takes
-- Replies: {fields of the run, signals, ms since the epoch, ms of the last pause or false, with a guess: what load_nodes.lua replies}
--@include clock
--@include read_nodes
local last = 2 + ARGV[2]
return {
  redis.call('HMGET', KEYS[1], unpack(ARGV, 3, last)),
  redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1),
  now_ms(),
  redis.call('GET', KEYS[3]),
  KEYS[4] and read_nodes(KEYS[4], 5, last + 1),
}
