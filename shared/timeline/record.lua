-- Takes events of one site into their plates' timelines and keeps the site's
-- state. Every key of a site has the hash tag {site}, so all keys that this
-- script builds are in the slot of KEYS[1].
--
-- KEYS[1]  "park:{<site>}:", the prefix of every key of the site
-- ARGV[1]  retention in milliseconds
-- ARGV[2]  oldest retained instant, as in a member
-- ARGV[3]  oldest retained instant in milliseconds since 1970
-- then four for each event:
--   member  13 digits of base 32 (0 to 9, a to v) of the nanoseconds since 1970, '0'
--           entry or '1' exit, then the event id: their byte order is the order of
--           the timeline
--   millis  of the observation, since 1970
--   plate   normalised
--   extra   what else is kept of the event: nothing, or a line feed and text
--
-- Keys after the prefix:
--   e         hash    event id -> "<slot><extra>": knows a duplicate from a conflict
--   t         hash    plate -> the newest members of its timeline, one a line; after
--                     a '+' if there are older ones in a key of their own
--   o:<plate> zset    the older ones, scored by their milliseconds, which gives
--                     their order and is quicker to compare
--   r         hash    exit id -> how often its stay changed after it was made. Where an
--                     id is used again that goes on: a revision never falls
--   in        zset    plates inside -> milliseconds of their entry
--   n         hash    totals: entries, exits, completed, unmatched, missed; of the
--                     last count by hand: counted, counted_at (milliseconds) and since,
--                     the entries less the exits that were observed later; and swept:
--                     where the search for what expired goes on, how many plates it
--                     goes through, and when it was there (milliseconds)
--   c         list    counts by hand: see site.go
--   d:<day>   hash    day since 1970: "entries", "exits" and, per minute of the
--                     day, "e<minute>" and "x<minute>"
--
-- Returns one string with a line for each event: a letter, N(ew), D(uplicate)
-- or C(onflict), and for each stay it has a say in three fields, each after a
-- tab: member of the exit, member of the entry or nothing, revision.
--
-- A call of Redis costs about a microsecond, whatever is asked, so that what can be
-- read or written once a script is. Numbers are passed as strings made with '%d':
-- Lua and Redis by themselves write them as floating point, which shows in a profile.

local call, sub, byte, format, floor = redis.call, string.sub, string.byte, string.format, math.floor
local prefix = KEYS[1]
local retention = tonumber(ARGV[1])
local oldest = ARGV[2]
local eventsKey, timelinesKey, revisionsKey = prefix .. 'e', prefix .. 't', prefix .. 'r'

-- A timeline is read and written whole up to this many members; what is more goes
-- into a sorted set, down to the fewest.
local most, fewest = 16, 8
-- How much is forgotten in one call, so that it holds up nobody.
local atOnce = 1000

-- An id is known for as long as the slot of 2^45 nanoseconds (9.8 hours) that the
-- first four digits of its event's time name is retained.
local function slot(member)
  return sub(member, 1, 4)
end
local oldestInstant = tonumber(sub(oldest, 1, 13), 32)
local oldestSlot = tonumber(slot(oldest), 32)
-- A key that names plates outlives what is in it, and goes when the site falls
-- silent.
local silence = format('%d', tonumber(ARGV[3]) + 2 * retention + 86400000)
-- An older part of a timeline outlives the site's keys, too: while those are there,
-- it is what names the ids to forget. The site itself is known for as long: see
-- forgottenAt in store.go.
local tailSilence = format('%d', silence + retention)

local totals = { entries = 0, exits = 0, completed = 0, unmatched = 0, missed = 0 }
local entriesAt, exitsAt = {}, {} -- by minute since 1970
local inside = {}                 -- plate -> millis of its entry, or false
local since = 0                   -- entries less exits after the count by hand
local forgotten = {}              -- members that are no part of a timeline any more
local out = {}

local countedAt, swept = unpack(call('HMGET', prefix .. 'n', 'counted_at', 'swept'))
countedAt = tonumber(countedAt or math.huge)

-- The kind of a member, as a byte: no string has to be made of it.
local entry, exit = byte('0'), byte('1')
local function kind(member)
  return member and byte(member, 14)
end

local function id(member)
  return sub(member, 15)
end

-- The time of a member, rounded to 256 nanoseconds.
local function instant(member)
  return tonumber(sub(member, 1, 13), 32)
end

-- Lua compares strings by Redis's locale, which may sort "aa" after "ab": times are
-- compared as numbers, and what those round away byte by byte. Who knows the
-- instant of a can give it.
local function precedes(a, b, at)
  local x, y = at or instant(a), instant(b)
  if x ~= y then
    return x < y
  end
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- An event that is older than the retention is no neighbour, whether or not it is
-- trimmed already: what an event means does not depend on that.
local function retained(member)
  if member then
    local at = instant(member)
    return (at > oldestInstant or not precedes(member, oldest, at)) and member
  end
end

local function tailOf(plate)
  return prefix .. 'o:' .. plate
end

-- Whether there is a sorted set, which is kept for a while longer then.
local function keepTail(plate)
  return call('PEXPIREAT', tailOf(plate), tailSilence) == 1
end

local function score(at)
  return format('%d', floor(at / 1000000))
end

local function readAll(line, text)
  local i = 0
  for member in string.gmatch(text, '[^+\n][^\n]*') do
    i = i + 1
    line[i] = member
  end
  line.unread = nil
end

-- Forgets what of a timeline is older than the retention, as far as there is time
-- for it in this call; if there may be more, the timeline knows. The newest members
-- go last: there are some as long as there are others in a sorted set.
local function trim(plate, line)
  if line.tail then
    local tail, left = tailOf(plate), atOnce - #forgotten
    if left <= 0 then
      line.more = true
      return
    end
    local old = call('ZRANGE', tail, '-inf', '(' .. ARGV[3], 'BYSCORE', 'LIMIT', '0', left)
    if #old > 0 then
      call('ZREM', tail, unpack(old))
      for _, member in ipairs(old) do
        forgotten[#forgotten + 1] = member
      end
    end
    line.more = #old == left
    line.tail = keepTail(plate)
    if line.tail then
      return
    end
    line.changed = true
    if line.unread then
      readAll(line, line.unread)
    end
  end
  while line[1] and not retained(line[1]) do
    forgotten[#forgotten + 1] = table.remove(line, 1)
    line.changed = true
  end
end

-- What is kept of a timeline in the hash, as a table of members that knows whether
-- there is a sorted set (tail), whether the text is to be read (unread) and whether
-- it has to be written (changed). Where there is a sorted set, only the first member
-- is read at first: what is older falls into the set.
local function parse(plate, text)
  local first = string.match(text, '^%+([^\n]*)')
  if first then
    return { first, tail = true, unread = text }
  end
  local line = { text, tail = false }
  if string.find(text, '\n', 1, true) then
    readAll(line, text)
  end
  if not retained(line[1]) then
    trim(plate, line)
  end
  return line
end

-- As visit, among the older members. By rank: that is one way down the skip list for
-- both neighbours, and no comparing of members.
local function visitTail(plate, line, member, at, insert)
  local tail = tailOf(plate)
  local known = not insert or call('ZADD', tail, score(at), member) == 0
  local rank = call('ZRANK', tail, member)
  if not rank then
    return false
  end
  if rank == 0 then
    local after = call('ZRANGE', tail, '1', '1')[1]
    if not after then -- it may be new, if the retention was raised
      keepTail(plate)
    end
    return known, nil, after or line[1]
  end
  local near = call('ZRANGE', tail, format('%d', rank - 1), format('%d', rank + 1))
  return known, retained(near[1]), near[3] or line[1]
end

-- Whether a member is in a timeline, and the members next to it. One that is
-- missing is put in, if it shall be.
local function visit(plate, line, member, insert)
  local at = instant(member)
  if line.tail and precedes(member, line[1], at) then
    return visitTail(plate, line, member, at, insert)
  end
  if line.unread then
    readAll(line, line.unread)
    trim(plate, line)
  end
  local i = #line -- how many are not after it; mostly that is all of them
  if i > 0 and precedes(member, line[i], at) then
    local low = 0
    i = i - 1
    while low < i do
      local middle = floor((low + i + 1) / 2)
      if precedes(member, line[middle], at) then
        i = middle - 1
      else
        low = middle
      end
    end
  end
  local known = line[i] == member
  if not known then
    if not insert then
      return false
    end
    i = i + 1
    table.insert(line, i, member)
    line.changed = true
  end
  local before = line[i - 1]
  if i == 1 and line.tail then
    before = call('ZRANGE', tailOf(plate), '-1', '-1')[1]
  end
  return known, retained(before), line[i + 1]
end

local ids, plates, different, lines = {}, {}, {}, {}
for n = 1, (#ARGV - 3) / 4 do
  local plate = ARGV[4 * n + 2]
  ids[n], plates[n] = id(ARGV[4 * n]), plate
  if not lines[plate] then
    lines[plate] = true
    different[#different + 1] = plate
  end
end
local events = {} -- id -> what is kept of it
for n, value in ipairs(call('HMGET', eventsKey, unpack(ids))) do
  events[ids[n]] = value
end
for n, text in ipairs(call('HMGET', timelinesKey, unpack(different))) do
  local plate = different[n]
  lines[plate] = text and parse(plate, text) or { tail = false }
end
local taken, new = {}, 0 -- ids, each followed by what is kept of it; how many
local revised = false

for n, name in ipairs(ids) do
  local i = 4 * n
  local member, plate = ARGV[i], plates[n]
  local isExit = kind(member) == exit
  local verdict, known, before, after
  local revision, later = 1, nil -- of its own stay and of that of the exit after it

  local event = events[name]
  if not event or tonumber(slot(event), 32) < oldestSlot then
    verdict = 'N'
    event = slot(member) .. ARGV[i + 3]
    events[name] = event
    taken[2 * new + 1], taken[2 * new + 2] = name, event
    new = new + 1
    known, before, after = visit(plate, lines[plate], member, true)

    local afterEntry, beforeExit = kind(before) == entry, kind(after) == exit
    local millis = tonumber(ARGV[i + 1])
    local minute = floor(millis / 60000)
    if millis > countedAt then
      since = since + (isExit and -1 or 1)
    end
    if isExit then
      totals.exits = totals.exits + 1
      exitsAt[minute] = (exitsAt[minute] or 0) + 1
      if not afterEntry then
        totals.unmatched = totals.unmatched + 1
      else
        totals.completed = totals.completed + 1
        if beforeExit then
          totals.completed = totals.completed - 1
          totals.unmatched = totals.unmatched + 1
        elseif after then
          totals.missed = totals.missed - 1
        else
          inside[plate] = false
        end
      end
    else
      totals.entries = totals.entries + 1
      entriesAt[minute] = (entriesAt[minute] or 0) + 1
      if beforeExit then
        if afterEntry then
          totals.missed = totals.missed + 1
        else
          totals.unmatched = totals.unmatched - 1
          totals.completed = totals.completed + 1
        end
      else
        if after or afterEntry then
          totals.missed = totals.missed + 1
        end
        if not after then
          inside[plate] = ARGV[i + 1]
        end
      end
    end
    -- The next exit's stay changes when its entry does.
    if beforeExit and (not isExit or afterEntry) then
      later = 1 + call('HINCRBY', revisionsKey, id(after), '1')
      revised = true
    end
  else
    known, before, after = visit(plate, lines[plate], member, false)
    if known then
      verdict = 'D'
      if isExit then
        revision = 1 + (call('HGET', revisionsKey, name) or 0)
      end
    else
      verdict = 'C'
    end
  end

  local answer = verdict
  if verdict ~= 'C' then
    if isExit then
      answer = answer .. '\t' .. member .. '\t' .. (kind(before) == entry and before or '') .. '\t' .. revision
    end
    if kind(after) == exit then
      later = later or 1 + (call('HGET', revisionsKey, id(after)) or 0)
      answer = answer .. '\t' .. after .. '\t' .. (isExit and '' or member) .. '\t' .. later
    end
  end
  out[n] = answer
end

-- Looks for what expired of plates that do not come again, or only late. All are looked
-- at within an eighth of the retention, however many events come: what is due
-- since the last time, but no more than holds up nobody.
local function sweep()
  local cursor, size, at = string.match(swept or '0 0 0', '^(%d+) (%d+) (%d+)$')
  local now, known = tonumber(ARGV[3]) + retention, call('HLEN', timelinesKey)
  if cursor == '0' or known > tonumber(size) then
    size = known
  end
  local passed = now - at
  if passed < -retention / 8 then -- a clock that was far ahead has been set right
    passed = retention / 8
  end
  local due = size * passed / (retention / 8)
  if known == 0 or due < math.min(known, 32) then
    return
  end
  local place, found = unpack(call('HSCAN', timelinesKey, cursor, 'COUNT', format('%d', math.min(due, 1000))))
  local more = false
  for i = 1, #found, 2 do
    local plate, text = found[i], found[i + 1]
    if not lines[plate] and (sub(text, 1, 1) == '+' or not retained(text)) then
      lines[plate] = parse(plate, text)
    end
    local line = lines[plate]
    if line and line.unread then
      trim(plate, line)
    end
    more = line and line.more or #forgotten >= atOnce
    if more then
      break
    end
  end
  -- The next call looks here again where one could not forget everything.
  if not more then
    call('HSET', prefix .. 'n', 'swept', format('%s %d %d', place, size, now))
  end
end
sweep()

if new > 0 then
  call('HSET', eventsKey, unpack(taken))
end
call('PEXPIREAT', eventsKey, silence)
if revised then
  call('PEXPIREAT', revisionsKey, silence)
end

local written, texts, gone = {}, 0, {} -- texts is how many are in written
for plate, line in pairs(lines) do
  if line.changed and #line == 0 then
    gone[#gone + 1] = plate
  elseif line.changed then
    local from, text = 1, line[1]
    if #line > most then
      from = #line - fewest + 1
      local args = {}
      for i = 1, from - 1 do
        args[#args + 1] = score(instant(line[i]))
        args[#args + 1] = line[i]
      end
      call('ZADD', tailOf(plate), unpack(args))
      keepTail(plate)
      line.tail = true
    end
    if line.tail or #line > 1 then
      text = (line.tail and '+' or '') .. table.concat(line, '\n', from)
    end
    written[2 * texts + 1], written[2 * texts + 2] = plate, text
    texts = texts + 1
  end
end
if texts > 0 then
  call('HSET', timelinesKey, unpack(written))
end
if #gone > 0 then
  call('HDEL', timelinesKey, unpack(gone))
end
call('PEXPIREAT', timelinesKey, silence)

-- The id of an event that is forgotten is, too, if it is not that of a later event
-- by now. An id has the plate with it, which nobody would find any more.
for from = 1, #forgotten, atOnce do
  local members = { unpack(forgotten, from, math.min(from + atOnce - 1, #forgotten)) }
  local old = {}
  for n, member in ipairs(members) do
    old[n] = id(member)
  end
  local unknown = {}
  for n, value in ipairs(call('HMGET', eventsKey, unpack(old))) do
    if value and slot(value) == slot(members[n]) then
      unknown[#unknown + 1] = old[n]
    end
  end
  if #unknown > 0 then
    call('HDEL', eventsKey, unpack(unknown))
    call('HDEL', revisionsKey, unpack(unknown))
  end
end

local entered, enter, left = {}, 0, {} -- enter is how many are in entered
for plate, millis in pairs(inside) do
  if millis then
    entered[2 * enter + 1], entered[2 * enter + 2] = millis, plate
    enter = enter + 1
  else
    left[#left + 1] = plate
  end
end
if enter > 0 then
  call('ZADD', prefix .. 'in', unpack(entered))
end
if #left > 0 then
  call('ZREM', prefix .. 'in', unpack(left))
end
call('ZREMRANGEBYSCORE', prefix .. 'in', '-inf', '(' .. ARGV[3])
call('PEXPIREAT', prefix .. 'in', silence)

-- Adds to the numbers of a hash.
local function add(key, numbers)
  local fields, values = {}, {}
  for field, n in pairs(numbers) do
    if n ~= 0 then
      fields[#fields + 1] = field
    end
  end
  if #fields == 0 then
    return
  end
  for i, value in ipairs(call('HMGET', key, unpack(fields))) do
    local field = fields[i]
    values[2 * i - 1], values[2 * i] = field, format('%d', (value or 0) + numbers[field])
  end
  call('HSET', key, unpack(values))
end

totals.since = since
add(prefix .. 'n', totals)
-- The totals and the counts by hand stay until the site is forgotten.
call('PEXPIREAT', prefix .. 'n', tailSilence)
call('PEXPIREAT', prefix .. 'c', tailSilence)

local days = {}
local function count(minutes, total, each)
  for minute, n in pairs(minutes) do
    local day = floor(minute / 1440)
    local numbers = days[day] or {}
    days[day] = numbers
    numbers[total] = (numbers[total] or 0) + n
    numbers[each .. minute % 1440] = n
  end
end
count(entriesAt, 'entries', 'e')
count(exitsAt, 'exits', 'x')
for day, numbers in pairs(days) do
  local key = prefix .. 'd:' .. day
  add(key, numbers)
  call('PEXPIREAT', key, format('%d', (day + 1) * 86400000 + retention))
end

return table.concat(out, '\n')
