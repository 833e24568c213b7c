-- Take out those pins of a run that hold it no more: their makers are gone for good. Looked at and taken out in one step,
-- so a pin that is made after this changes how many there are.
-- KEYS: pins, then for each maker: run, packed, receipt
-- ARGV: for each maker: its id, ms until which it may yet get a trigger
-- Replies: how many are left of these: the maker is there, its trigger waits, or may yet come.
--@include clock
local now, held = now_ms(), 0
for i = 1, #ARGV / 2 do
  local by, at = ARGV[2 * i - 1], 3 * i - 1
  local state = redis.call('HGET', KEYS[at + 2], 's')
  if redis.call('EXISTS', KEYS[at], KEYS[at + 1]) > 0 or state == 'queued' or (not state and now < tonumber(ARGV[2 * i])) then
    held = held + 1
  else
    redis.call('SREM', KEYS[1], by)
  end
end
return held
