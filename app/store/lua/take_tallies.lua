-- Take the counts out, so that each is told by one API process only. Their names stay: each process knows them all.
-- KEYS: tallies
-- Replies: name, count, ...; a count is 0 where it was taken before and nothing came since.
--@include spread
local found, zeros = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #found, 2 do
  if found[i + 1] ~= '0' then zeros[#zeros + 1], zeros[#zeros + 2] = found[i], 0 end
end
spread('HSET', KEYS[1], zeros)
return found
