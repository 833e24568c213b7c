-- A launch ended. Most ends need no signal: the final checkpoint said it all.
-- KEYS: node run, run, inbox, active
-- ARGV: attempt, launch, run id, signal, number of the final step, ms since its process began (-1: not known), ms since that
--       ended, ms after the store's own beginning up to which an end is in doubt (-1: whenever it came),
--       the signal of an end in doubt, live states...
-- Replies: 1 signalled; 0 the attempt is over, or its final checkpoint is in the inbox.
--@include clock
--@include push
-- The beginning of the store is known in whole seconds.
local function in_doubt(began, ended, soon)
  if began < 0 then return false end
  local info = redis.call('INFO', 'server')
  local micros, uptime = string.match(info, 'server_time_usec:(%d+)'), string.match(info, 'uptime_in_seconds:(%d+)')
  if not micros or not uptime then return false end
  local store = (math.floor(tonumber(micros) / 1000000) - tonumber(uptime) + 1) * 1000
  local now = now_ms()
  return now - began < store and (soon < 0 or now - ended < store + soon)
end
local f = redis.call('HMGET', KEYS[1], 's', 'a', 'l', 'p')
if f[2] ~= ARGV[1] or f[3] ~= ARGV[2] or f[4] == ARGV[5] then return 0 end
for i = 10, #ARGV do
  if f[1] == ARGV[i] then
    local doubt = ARGV[9] ~= ARGV[4] and in_doubt(tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]))
    push(KEYS[2], KEYS[3], KEYS[4], ARGV[3], doubt and ARGV[9] or ARGV[4])
    return 1
  end
end
return 0
