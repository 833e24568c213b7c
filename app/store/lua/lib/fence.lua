-- fence(node, attempt, epoch): nil when this instance holds the node run's live attempt, else the reply that refuses it.
-- Replies: {'missing'}, {'stale'}.
local function fence(node, attempt, epoch)
  local f = redis.call('HMGET', node, 's', 'a', 'e')
  if not f[1] then return {'missing'} end
  if f[1] ~= 'running' or f[2] ~= attempt or f[3] ~= epoch then return {'stale'} end
  return nil
end
