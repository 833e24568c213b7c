-- What a mark asked for has been done, unless it was set anew meanwhile.
-- KEYS: mark
-- ARGV: its value when this began
-- Replies: 1; 0 when it was set anew, or is gone.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
