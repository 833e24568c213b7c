-- Puts the next look at a workflow's schedules at another time, unless it was published or looked at meanwhile.
-- KEYS: schedules
-- ARGV: workflow, the time as the caller read it, the new one in ms
-- Replies: 1 moved; 0 it stands elsewhere, or nowhere.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
