-- Read node runs and joins. Writes nothing.
-- KEYS: joins, then node runs
-- ARGV: '*' for all joins, else the names of some or nothing
-- Replies: {joins (values in order, or field, value, ... for all), NODE_FIELDS of each node run in order}
--@include read_nodes
return read_nodes(KEYS[1], 2, 1)
