-- Record a decision about an approval, the first one only, and tell its run.
-- KEYS: node run, run, inbox, active
-- ARGV: run id, signal, decision (JSON), state of a run whose nodes may be decided about, state of a node run that waits
-- Replies: {'ok'}; {'decided', the first decision (JSON)}; {'state', state of the node run}; {'missing'};
--          {'over', state of the run}; {'ending'}: someone asked for the end of the run before
--@include clock
--@include push
local f = redis.call('HMGET', KEYS[1], 's', 'ad')
if not f[1] then return {'missing'} end
if f[2] then return {'decided', f[2]} end
local run = redis.call('HMGET', KEYS[2], 's', 'cr')
if run[1] ~= ARGV[4] then return {'over', run[1] or ''} end
if run[2] then return {'ending'} end
if f[1] ~= ARGV[5] then return {'state', f[1]} end
redis.call('HSET', KEYS[1], 'ad', ARGV[3], 'w', now_ms())
push(KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2])
return {'ok'}
