-- Publishes a document as the current version of a workflow, or finds that it is one already.
-- KEYS 1 w:NAME  2 w:NAME:v  3 w:NAME:v:N (N = the last version + 1)  4 workflows  5 schedules  6 w:NAME:ticks
--      7 listening  8... w:OTHER:after of run triggers
-- ARGV 1 name  2 the last version as the caller saw it (0: none)  3 If-Match ("" none, "*" any, "-" must not exist, or an etag)
--      4 etag of the document  5 the document  6 the version's record as JSON  7 now in ms  8 description
--      9 1 with event triggers, else 0  10... of each schedule trigger its name and its times
-- Replies {"moved"}            the last version is another: read again and call again
--         {"unmatched", etag}  If-Match does not hold; the current etag, "" when there is none
--         {"same", version}    the content exists already; it is the current version now
--         {"created", version}
--@include clock
local head = redis.call('HMGET', KEYS[1], 'last', 'etag', 'version', 'e:' .. ARGV[4])
local last = head[1] or '0'
local etag = head[2] or ''
if ARGV[3] == '-' then
  if etag ~= '' then return {'unmatched', etag} end
elseif ARGV[3] == '*' then
  if etag == '' then return {'unmatched', ''} end
elseif ARGV[3] ~= '' and ARGV[3] ~= etag then
  return {'unmatched', etag}
end
local known = head[4]
if not known and last ~= ARGV[2] then return {'moved'} end
local version = known
if not known then
  version = tostring(tonumber(last) + 1)
  redis.call('SET', KEYS[3], ARGV[5])
  redis.call('HSET', KEYS[2], version, ARGV[6])
  redis.call('HSET', KEYS[1], 'last', version, 'e:' .. ARGV[4], version)
  redis.call('HSETNX', KEYS[1], 'created', ARGV[7])
  redis.call('ZADD', KEYS[4], 0, ARGV[1])
end
if version ~= head[3] then
  redis.call('HSET', KEYS[1], 'version', version, 'etag', ARGV[4], 'updated', ARGV[7], 'description', ARGV[8])
end
for i = 8, #KEYS do redis.call('SADD', KEYS[i], ARGV[1]) end
redis.call('HDEL', KEYS[1], 'archived')
-- a schedule whose times are as they were goes on after its last tick; one that is new begins now
local now, times = now_ms(), {}
for i = 10, #ARGV, 2 do times[ARGV[i]] = ARGV[i + 1] end
for _, field in ipairs(redis.call('HKEYS', KEYS[6])) do
  if not times[string.match(field, '^[^:]*')] then redis.call('HDEL', KEYS[6], field) end
end
for name, wanted in pairs(times) do
  if redis.call('HGET', KEYS[6], name .. ':times') ~= wanted then
    redis.call('HSET', KEYS[6], name, now, name .. ':times', wanted)
  end
end
if next(times) then
  redis.call('ZADD', KEYS[5], -now, ARGV[1]) -- looked at at once
else
  redis.call('ZREM', KEYS[5], ARGV[1])
end
if ARGV[9] == '1' then
  redis.call('ZADD', KEYS[7], now, ARGV[1])
else
  redis.call('ZADD', KEYS[7], 'XX', now, ARGV[1]) -- so that who remembers its event triggers hears that they are gone
end
return {known and 'same' or 'created', version}
