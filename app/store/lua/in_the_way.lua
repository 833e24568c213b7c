-- cancel_running: which runs of a key are in the way of the newest ones. Writes nothing.
-- The newest of all that run and wait stay, as many as there are places; of the same ms what runs counts as older.
-- KEYS: running runs of the key, waiting runs of the key
-- ARGV: places, most to answer, ms below which a place is that of a run that was asked to end, priorities, what a priority adds to the ms
-- Replies: run ids, the oldest first; none where nobody waits.
local waiting = redis.call('ZCARD', KEYS[2])
if waiting == 0 then return {} end
local over = redis.call('ZCOUNT', KEYS[1], ARGV[3], '+inf') + waiting - tonumber(ARGV[1])
local most = math.min(over, tonumber(ARGV[2]))
if most <= 0 then return {} end
local found, rows, step = {}, {}, tonumber(ARGV[5])
local running = redis.call('ZRANGE', KEYS[1], ARGV[3], '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
for i = 1, #running, 2 do rows[#rows + 1] = {tonumber(running[i + 1]), running[i], 0} end
for priority = 1, tonumber(ARGV[4]) do
  local from, to = string.format('%.0f', priority * step), string.format('(%.0f', (priority + 1) * step)
  local oldest = redis.call('ZRANGE', KEYS[2], from, to, 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
  for i = 1, #oldest, 2 do rows[#rows + 1] = {tonumber(oldest[i + 1]) - priority * step, oldest[i], 1} end
end
table.sort(rows, function(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  if a[3] ~= b[3] then return a[3] < b[3] end
  return a[2] < b[2]
end)
for i = 1, math.min(most, #rows) do found[i] = rows[i][2] end
return found
