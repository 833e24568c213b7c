-- The cluster took the pod of a launch away and makes another one: the same attempt, one infrastructure fault, told once.
-- KEYS: node run
-- ARGV: attempt, launch, uid of the pod, live states...
-- Replies: disruptions that the node run has had; -1 when the launch is not the node run's live one.
--@include clock
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l', 'dp')
if f[2] ~= ARGV[1] or f[3] ~= ARGV[2] then return -1 end
local live = false
for i = 4, #ARGV do live = live or f[1] == ARGV[i] end
if not live then return -1 end
local told, count, known = f[4] or '', 0, false
for uid in string.gmatch(told, '[^,]+') do
  count = count + 1
  known = known or uid == ARGV[3]
end
if not known then
  count = count + 1
  redis.call('HSET', KEYS[1], 'dp', told == '' and ARGV[3] or (told .. ',' .. ARGV[3]), 'h', now_ms())
end
return count
