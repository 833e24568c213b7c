-- A group of a stream, where there is none; a stream that may have been lost with it is marked in the same breath.
-- KEYS: stream, the mark of what is to be done then (none for a stream that nothing is done for)
-- ARGV: group, value of the mark
-- Replies: 1 when it was made, 0 when it is there.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made['err'] then
  if string.find(made['err'], 'BUSYGROUP', 1, true) then return 0 end
  return made
end
if KEYS[2] then redis.call('SET', KEYS[2], ARGV[2]) end
return 1
