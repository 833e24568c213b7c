-- Read node runs and joins. Writes nothing.
-- KEYS: joins, then node runs
-- ARGV: number of joins or -1 for all, their names, then the fields of a node run
-- Replies: {joins (values in order, or field, value, ... for all), fields of each node run in order}
--@include read_nodes
return read_nodes(KEYS[1], 2, 1)
