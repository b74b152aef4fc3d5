-- Takes stays of one site in: of each the highest revision stays.
--
-- KEYS[1]  "stay:{<site>}:", the prefix of every key of the site
-- ARGV[1]  oldest retained instant, as in a position
-- ARGV[2]  when the indexes expire, in milliseconds since 1970:
--          later than any stay in them
-- then six for each stay, none of which stands twice:
--   position  16 hex digits of the exit's nanoseconds since 1970, then the stay's
--             id: byte order is the order of time
--   plate     normalised
--   status    'c' completed or 'u' unmatched exit
--   seconds   duration; 0 for an unmatched exit
--   tally     where the stay is counted: "<day> c <bucket>" or "<day> u" with the
--             day of the exit since 1970 and the bucket of the duration
--   value     of the stay
--
-- Keys after the prefix:
--   s          hash    stay id -> "<revision> <seconds> <tally>\n<plate>\n", 8 bytes
--                      for the exit and what is kept besides: see kept.go
--   x:<status> zset    positions of the stays of that status, all with score 0
--   p          zset    "<plate>\n<position>" of every stay, all with score 0
--   d:<day>    hash    exits of a day since 1970: "c", "u", "seconds" and, for each
--                      bucket of durations, "b<bucket>"
--
-- Returns how many stays were stored; the others were known at this revision or
-- a higher one.
--
-- Half of the time goes into calling Redis, so that what can be read or written
-- once a script is. For the same reason, and for the memory, stays are fields of
-- one hash and no keys that would expire one by one: the scripts forget the oldest.

local call, sub, match = redis.call, string.sub, string.match
local prefix = KEYS[1]
local stays, plates = prefix .. 's', prefix .. 'p'
local stored = 0
local counts, sums = {}, {} -- by tally: stays and their seconds

local ids, values = {}, {} -- values: ids, each followed by its value
for n = 1, (#ARGV - 2) / 6 do
  ids[n] = sub(ARGV[6 * n - 3], 17)
end
local known = call('HMGET', stays, unpack(ids))

-- Scores and members to add to the sorted sets; n is how many those are together.
local placed, listed = { n = 0 }, { c = { n = 0 }, u = { n = 0 } }
local function add(to, member)
  to[to.n + 1], to[to.n + 2] = '0', member
  to.n = to.n + 2
end

-- Whether one instant, as in a position, is before another. Lua compares strings by
-- Redis's locale, which may sort "aa" after "ab", and rounds numbers of 64 bits.
local function before(a, b)
  local x, y = sub(a, 1, 8), sub(b, 1, 8)
  if x == y then
    x, y = sub(a, 9, 16), sub(b, 9, 16)
  end
  return tonumber(x, 16) < tonumber(y, 16)
end

local function hex(byte)
  return string.format('%02x', string.byte(byte))
end

for n, id in ipairs(ids) do
  local i = 6 * n - 3
  local position, status, tally, value = ARGV[i], ARGV[i + 2], ARGV[i + 4], ARGV[i + 5]
  local place = ARGV[i + 1] .. '\n' .. position
  local old = known[n]
  local newer, isPlaced, isListed = not old, false, false
  if old then
    local revision, seconds, oldTally, oldPlate, exit = match(old, '^(%d+) (%d+) ([^\n]*)\n([^\n]*)\n(........)')
    exit = string.gsub(exit, '.', hex)
    -- What expired may not be forgotten yet, while its id is used for another exit.
    local expired = before(exit, ARGV[1])
    newer = expired or tonumber(revision) < tonumber(match(value, '^%d+'))
    if newer then
      if not expired then
        counts[oldTally] = (counts[oldTally] or 0) - 1
        sums[oldTally] = (sums[oldTally] or 0) - seconds
      end
      local oldStatus, oldPosition = match(oldTally, ' (%a)'), exit .. id
      isListed = oldStatus == status and oldPosition == position
      if not isListed then
        call('ZREM', prefix .. 'x:' .. oldStatus, oldPosition)
      end
      local oldPlace = oldPlate .. '\n' .. oldPosition
      isPlaced = oldPlace == place
      if not isPlaced then
        call('ZREM', plates, oldPlace)
      end
    end
  end
  if newer then
    values[2 * stored + 1], values[2 * stored + 2] = id, value
    stored = stored + 1
    if not isPlaced then
      add(placed, place)
    end
    if not isListed then
      add(listed[status], position)
    end
    counts[tally] = (counts[tally] or 0) + 1
    sums[tally] = (sums[tally] or 0) + ARGV[i + 3]
  end
end

-- Every key outlives the stays in it, and goes when the site falls silent.
local function write(command, key, args)
  if args[1] then
    call(command, key, unpack(args))
    call('PEXPIREAT', key, ARGV[2])
  end
end
write('HSET', stays, values)
write('ZADD', plates, placed)
for status, positions in pairs(listed) do
  write('ZADD', prefix .. 'x:' .. status, positions)
end

-- Some a call, so that what expired in a quiet time holds up nobody, and more
-- than a call brings.
for status in pairs(listed) do
  local index = prefix .. 'x:' .. status
  local expired = call('ZRANGEBYLEX', index, '-', '(' .. ARGV[1], 'LIMIT', '0', '500')
  if #expired > 0 then
    local gone, places = {}, {}
    for n, position in ipairs(expired) do
      gone[n] = sub(position, 17)
    end
    for n, value in ipairs(call('HMGET', stays, unpack(gone))) do
      places[n] = (value and match(value, '\n([^\n]*)\n') or '') .. '\n' .. expired[n]
    end
    call('HDEL', stays, unpack(gone))
    call('ZREM', plates, unpack(places))
    call('ZREM', index, unpack(expired))
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
