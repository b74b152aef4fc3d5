-- Takes stays of one site in: of each the highest revision stays.
--
-- KEYS[1]  "stay:{<site>}:", the prefix of every key of the site
-- ARGV[1]  oldest retained instant, as in a position
-- ARGV[2]  when the indexes expire, in milliseconds since 1970:
--          later than any stay in them
-- then seven for each stay:
--   position  16 hex digits of the exit's nanoseconds since 1970, then the stay's
--             id: byte order is the order of time
--   plate     normalised
--   status    'c' completed or 'u' unmatched exit
--   seconds   duration; 0 for an unmatched exit
--   tally     where the stay is counted: "<day> c <bucket>" or "<day> u" with the
--             day of the exit since 1970 and the bucket of the duration
--   expiry    of the stay, in milliseconds since 1970
--   value     of the stay's key
--
-- Keys after the prefix:
--   s:<id>     string  "<revision> <seconds> <tally>\n", then what is kept besides
--   x:<status> zset    positions of the stays of that status, all with score 0
--   p:<plate>  zset    positions of the stays of that plate
--   d:<day>    hash    exits of a day since 1970: "c", "u", "seconds" and, for each
--                      bucket of durations, "b<bucket>"
--
-- Returns how many stays were stored; the others were known at this revision or
-- a higher one.
--
-- Half of the time goes into calling Redis, so that what can be read or written
-- once a script is.

local call, sub, match = redis.call, string.sub, string.match
local prefix = KEYS[1]
local stayPrefix, platePrefix = prefix .. 's:', prefix .. 'p:'
local stored = 0
local added = { c = {}, u = {} }
local counts, sums = {}, {} -- by tally: stays and their seconds

local keys, known = {}, {}
for i = 3, #ARGV, 7 do
  keys[#keys + 1] = stayPrefix .. sub(ARGV[i], 17)
end
for i, old in ipairs(call('MGET', unpack(keys))) do
  known[keys[i]] = old
end

for n, key in ipairs(keys) do
  local i = 7 * n - 4
  local status, tally, value = ARGV[i + 2], ARGV[i + 4], ARGV[i + 6]
  local old = known[key]
  local newer = not old
  if old then
    local revision, seconds, oldTally = match(old, '^(%d+) (%d+) ([^\n]*)\n')
    newer = tonumber(revision) < tonumber(match(value, '^%d+'))
    if newer then
      counts[oldTally] = (counts[oldTally] or 0) - 1
      sums[oldTally] = (sums[oldTally] or 0) - seconds
      local oldStatus = match(oldTally, ' (%a)')
      if oldStatus ~= status then
        call('ZREM', prefix .. 'x:' .. oldStatus, ARGV[i])
        added[oldStatus][ARGV[i]] = nil
        added[status][ARGV[i]] = true
      end
    end
  else
    local plate = platePrefix .. ARGV[i + 1]
    call('ZADD', plate, '0', ARGV[i])
    call('PEXPIREAT', plate, ARGV[2])
    -- A plate that comes again and again keeps its index from expiring.
    call('ZREMRANGEBYLEX', plate, '-', '(' .. ARGV[1])
    added[status][ARGV[i]] = true
  end
  if newer then
    stored = stored + 1
    known[key] = value
    call('SET', key, value, 'PXAT', ARGV[i + 5])
    counts[tally] = (counts[tally] or 0) + 1
    sums[tally] = (sums[tally] or 0) + ARGV[i + 3]
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
    call('PEXPIREAT', prefix .. 'x:' .. status, ARGV[2])
  end
  -- Some a call, so that what expired in a quiet time holds up nobody.
  local expired = call('ZRANGEBYLEX', prefix .. 'x:' .. status, '-', '(' .. ARGV[1], 'LIMIT', '0', '200')
  if #expired > 0 then
    call('ZREM', prefix .. 'x:' .. status, unpack(expired))
  end
end

local days = {}
for tally, n in pairs(counts) do
  local day, status, bucket = match(tally, '^(%d+) (%a) ?(%d*)$')
  local fields = days[day] or {}
  days[day] = fields
  fields[status] = (fields[status] or 0) + n
  if status == 'c' then
    fields.seconds = (fields.seconds or 0) + sums[tally]
    fields['b' .. bucket] = (fields['b' .. bucket] or 0) + n
  end
end
for day, fields in pairs(days) do
  local key = prefix .. 'd:' .. day
  for field, n in pairs(fields) do
    if n ~= 0 then
      call('HINCRBY', key, field, string.format('%.0f', n))
    end
  end
  call('PEXPIREAT', key, ARGV[2])
end
return stored
