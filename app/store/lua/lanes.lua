-- Which lanes have waiting tasks: each is found by skipping over what stands behind its head. Writes nothing.
-- KEYS: queue
-- ARGV: the lane to go on after ('' for the first), most
-- Replies: the lanes in the order of their names.
local from, found = ARGV[1] == '' and '-' or '(' .. ARGV[1] .. '}', {}
while #found < tonumber(ARGV[2]) do
  local member = redis.call('ZRANGE', KEYS[1], from, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not member then break end
  local lane = string.match(member, '^[^|]*|[^|]*|[^|]*')
  found[#found + 1] = lane
  from = '(' .. lane .. '}'
end
return found
