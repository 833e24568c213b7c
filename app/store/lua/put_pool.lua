-- Set the slots of a pool. A type's or a workflow's pool that had no limit gets as holders those that run already.
-- KEYS: pools, holders of the pool `global`, holders of the pool
-- ARGV: name, slots, 'workflow', 'type' or '' (which holders of `global` are the pool's, if it has no limit yet), their value
-- Replies: 1 it was set before; 0 it is new.
local known = redis.call('HEXISTS', KEYS[1], ARGV[1])
if known == 0 and ARGV[3] ~= '' then
  local rows = redis.call('HGETALL', KEYS[2])
  for i = 1, #rows, 2 do
    local since, workflow, kind = string.match(rows[i + 1], '^(%d+) %d+ (%S*) ?(%S*)$')
    if since and ((ARGV[3] == 'workflow' and workflow == ARGV[4]) or (ARGV[3] == 'type' and kind == ARGV[4])) then
      redis.call('HSET', KEYS[3], rows[i], since .. ' 1 ' .. workflow .. ' ' .. kind)
    end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return known
