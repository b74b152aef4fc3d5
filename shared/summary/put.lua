-- Takes stays of one site in: of each the highest revision stays.
--
-- KEYS[1]  "stay:{<site>}:", the prefix of every key of the site
-- ARGV[1]  retention in milliseconds
-- ARGV[2]  oldest retained instant, as in a position
-- then six for each stay:
--   position  16 hex digits of the exit's nanoseconds since 1970, then the stay's
--             id: byte order is the order of time
--   plate     normalised
--   revision
--   status    'c' completed or 'u' unmatched exit
--   seconds   duration, and after a blank its bucket; empty for an unmatched exit
--   body      JSON as it will be served
--
-- Keys after the prefix:
--   s:<id>     string  "<revision> <status> <seconds> <bucket>\n<body>"
--   x:<status> zset    positions of the stays of that status, all with score 0
--   p:<plate>  zset    positions of the stays of that plate
--   d:<day>    hash    exits of a day since 1970: "c", "u", "seconds" and, for each
--                      bucket of durations, "b<bucket>"
--
-- Returns how many stays were stored; the others were known at this revision or
-- a higher one.

local call, sub, floor = redis.call, string.sub, math.floor
local prefix = KEYS[1]
local retention = tonumber(ARGV[1])
local stored = 0
local days, added = {}, { c = {}, u = {} }

local function count(day, status, duration, sign)
  local fields = days[day]
  if not fields then
    fields = {}
    days[day] = fields
  end
  fields[status] = (fields[status] or 0) + sign
  if status == 'c' then
    local seconds, bucket = string.match(duration, '^(%d+) (%d+)$')
    fields.seconds = (fields.seconds or 0) + sign * seconds
    fields['b' .. bucket] = (fields['b' .. bucket] or 0) + sign
  end
end

for i = 3, #ARGV, 6 do
  local position, plate, revision, status, duration = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local key = prefix .. 's:' .. sub(position, 17)
  local millis = floor(tonumber(sub(position, 1, 16), 16) / 1000000)
  local day = floor(millis / 86400000)
  local expiry = string.format('%.0f', millis + retention)
  local old = call('GET', key)
  local oldRevision, oldStatus, oldDuration
  if old then
    oldRevision, oldStatus, oldDuration = string.match(old, '^(%d+) (%a) ([^\n]*)\n')
  end
  if not old or tonumber(oldRevision) < tonumber(revision) then
    stored = stored + 1
    call('SET', key, revision .. ' ' .. status .. ' ' .. duration .. '\n' .. ARGV[i + 5], 'PXAT', expiry)
    count(day, status, duration, 1)
    if old then
      count(day, oldStatus, oldDuration, -1)
    else
      call('ZADD', prefix .. 'p:' .. plate, '0', position)
      call('PEXPIREAT', prefix .. 'p:' .. plate, expiry, call('PTTL', prefix .. 'p:' .. plate) < 0 and 'NX' or 'GT')
    end
    if oldStatus ~= status then
      if oldStatus then
        call('ZREM', prefix .. 'x:' .. oldStatus, position)
        added[oldStatus][position] = nil
      end
      added[status][position] = true
    end
  end
end

for status, positions in pairs(added) do
  local members = {}
  for position in pairs(positions) do
    members[#members + 1] = '0'
    members[#members + 1] = position
  end
  if #members > 0 then
    call('ZADD', prefix .. 'x:' .. status, unpack(members))
  end
  -- Some a call, so that what expired in a quiet time holds up nobody.
  local expired = call('ZRANGEBYLEX', prefix .. 'x:' .. status, '-', '(' .. ARGV[2], 'LIMIT', '0', '200')
  if #expired > 0 then
    call('ZREM', prefix .. 'x:' .. status, unpack(expired))
  end
end
for day, fields in pairs(days) do
  local key = prefix .. 'd:' .. day
  for field, n in pairs(fields) do
    if n ~= 0 then
      call('HINCRBY', key, field, n)
    end
  end
  call('PEXPIREAT', key, string.format('%.0f', (day + 1) * 86400000 + retention))
end
return stored
