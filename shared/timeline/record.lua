-- Adds events of one site to the timelines of their plates and keeps the site's state.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  retention in milliseconds
-- ARGV[2]  oldest retained instant, as in a member
-- ARGV[3]  oldest retained instant in milliseconds since 1970
-- then four for each event:
--   member  see layout.lua
--   millis  of the observation, since 1970
--   plate   normalised
--   extra   what else is kept of the event: nothing, or a line feed and text
--
-- Returns a line for each event: a letter, N(ew), D(uplicate) or C(onflict), and for each
-- stay that the event affects three fields, each after a tab: member of the exit, member
-- of the entry or nothing, revision. Those are its own stay, if it is an exit, and that
-- of the exit directly after it.
--
-- An example, which TestTheExampleOfTheScript runs. On 2100-11-23 of the plate KA01 comes
-- the exit x1 of 09:45, then its entry e1 of 08:15, then e1 once more:
--
--   member            answer                                    then there are
--   3iko0tiu4g6001x1  N  3iko0tiu4g6001x1                    1  1 unmatched exit
--   3ikns0dpj6a000e1  N  3iko0tiu4g6001x1  3ikns0dpj6a000e1  2  1 completed stay
--   3ikns0dpj6a000e1  D  3iko0tiu4g6001x1  3ikns0dpj6a000e1  2  1 completed stay
--
-- The keys of the site have in them, behind their prefix:
--
--   e        e1 -> 3ikn, x1 -> 3iko
--   t        KA01 -> 3ikns0dpj6a000e1 and 3iko0tiu4g6001x1, one a line
--   r        x1 -> 1: the stay changed once, so its revision is 2
--   n        entries 1, exits 1, completed 1, unmatched 0
--   d:47808  entries 1, exits 1, e495 1, x585 1
--
-- After the functions the phases stand in order: read, apply, sweep, write. A change goes
--   to the arguments above and to `eventArgs`, if a script has to know more of an event
--   to `apply`, if it is about which events there are and which stays an event affects
--   to `observe`, if it is about what an event means beside its neighbours
--   to layout.lua, layout.go and write, if something else is stored. Write is once a call;
--   only revisions and the older members of long timelines are written event by event.

-- A timeline is read and written whole up to this many members. If it has more, all but
-- the fewest newest become older members.
local most, fewest = 16, 8
-- Upper bound on expired members removed per call, to keep the script short.
local maxForgotten = 1000

local argv = ARGV
local headArgs, eventArgs = 3, 4
local minuteMillis, dayMillis = 60000, 86400000

local retention, oldest, oldestMillis = tonumber(argv[1]), argv[2], argv[3]
local oldestInstant, oldestSlot = instant(oldest), tonumber(slotOf(oldest), 32)

-- A key that names plates outlives what is in it, and expires when the site falls silent.
local expiry = integer(tonumber(oldestMillis) + 2 * retention + dayMillis)
-- Older members outlive the site's other keys: while those are there, they name the ids
-- to forget. The site itself is known for as long: see forgottenAt in store.go.
local lastExpiry = integer(expiry + retention)

-- What the phases hand on.
local timelines = {}              -- plate -> timeline, as parse makes it
local events = {}                 -- id -> what is kept of the event
local newEvents, newCount = {}, 0 -- ids, each followed by what is kept; how many
local forgotten = {}              -- members that are no part of a timeline any more
local revised = false             -- whether a revision was written
local inside = {}                 -- plate -> millis of its entry, or false
local totals = { entries = 0, exits = 0, completed = 0, unmatched = 0, missed = 0, since = 0 }
local entriesAt, exitsAt = {}, {} -- minute since 1970 -> how many
local countedAt, swept = unpack(call('HMGET', key.totals, 'counted_at', 'swept'))
countedAt = tonumber(countedAt or math.huge) -- later than all events without a count

------------------------------------------------------------------------------------------
-- Timelines
--
-- A timeline is a table of its newest members, with
--   older    whether it has older members, which are in a sorted set
--   unread   the text of the field, if only the first member was taken from it
--   changed  whether the field has to be written
--   more     whether more of it expired than was forgotten
------------------------------------------------------------------------------------------

-- Returns a member, or nil or false if there is none or it expired. What an event means
-- does not depend on whether what expired before it is removed already.
local function retained(member)
  if member then
    local at = instant(member)
    return (at > oldestInstant or not precedes(member, oldest, at)) and member
  end
end

-- Reports whether a plate has older members, and keeps them for a while longer.
local function keepOlder(plate)
  return call('PEXPIREAT', key.older .. plate, lastExpiry) == 1
end

-- The score of an older member.
local function score(at)
  return integer(floor(at / 1000000))
end

local function readAll(line, text)
  local i = 0
  for member in string.gmatch(text, eachMember) do
    i = i + 1
    line[i] = member
  end
  line.unread = nil
end

-- Removes the expired members of a timeline, as many as this call may. The newest go
-- last: there are some as long as there are older ones.
local function trim(plate, line)
  if line.older then
    local older, left = key.older .. plate, maxForgotten - #forgotten
    if left <= 0 then
      line.more = true
      return
    end
    local old = call('ZRANGE', older, '-inf', '(' .. oldestMillis, 'BYSCORE', 'LIMIT', '0', left)
    if #old > 0 then
      call('ZREM', older, unpack(old))
      for _, member in ipairs(old) do
        forgotten[#forgotten + 1] = member
      end
    end
    line.more = #old == left
    line.older = keepOlder(plate)
    if line.older then
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

-- Returns the timeline in a field of key.timelines. If it has older members only the
-- first of the newest is read: an event before it is among the older ones.
local function parse(plate, text)
  local first = match(text, '^%+([^\n]*)')
  if first then
    return { first, older = true, changed = false, unread = text }
  end
  local line = { text, older = false, changed = false }
  if string.find(text, '\n', 1, true) then
    readAll(line, text)
  end
  if not retained(line[1]) then
    trim(plate, line)
  end
  return line
end

-- Is find among the older members. By rank: that is one way down the skip list for both
-- neighbours, and no comparing of members.
local function findOlder(plate, line, member, at, insert)
  local older = key.older .. plate
  local found = not insert or call('ZADD', older, score(at), member) == 0
  local rank = call('ZRANK', older, member)
  if not rank then
    return false
  end
  if rank == 0 then
    local after = call('ZRANGE', older, '1', '1')[1]
    if not after then -- the set may be new, if the retention was raised
      keepOlder(plate)
    end
    return found, nil, after or line[1]
  end
  local near = call('ZRANGE', older, integer(rank - 1), integer(rank + 1))
  return found, retained(near[1]), near[3] or line[1]
end

-- Reports whether a member is in a timeline, and returns its neighbours if it is. With
-- insert, a member that is missing is put in first.
local function find(plate, line, member, insert)
  local at = instant(member)
  if line.older and precedes(member, line[1], at) then
    return findOlder(plate, line, member, at, insert)
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
  local found = line[i] == member
  if not found then
    if not insert then
      return false
    end
    i = i + 1
    table.insert(line, i, member)
    line.changed = true
  end
  local before = line[i - 1]
  if i == 1 and line.older then
    before = call('ZRANGE', key.older .. plate, '-1', '-1')[1]
  end
  return found, retained(before), line[i + 1]
end

------------------------------------------------------------------------------------------
-- One event
------------------------------------------------------------------------------------------

-- Counts a new event and what it changes about its neighbours.
local function observe(plate, isExit, millis, afterEntry, beforeExit, after)
  local at = tonumber(millis)
  local minutes, minute = isExit and exitsAt or entriesAt, (at - at % minuteMillis) / minuteMillis
  minutes[minute] = (minutes[minute] or 0) + 1
  if at > countedAt then
    totals.since = totals.since + (isExit and -1 or 1)
  end
  if isExit then
    -- An entry before it is its own, and not that of the exit after it any more.
    if not afterEntry or beforeExit then
      totals.unmatched = totals.unmatched + 1
    else
      totals.completed = totals.completed + 1
      if after then
        totals.missed = totals.missed - 1
      else
        inside[plate] = false
      end
    end
  else
    -- It is that of an exit after it, and an entry before it has no exit any more.
    if beforeExit and not afterEntry then
      totals.unmatched = totals.unmatched - 1
      totals.completed = totals.completed + 1
    elseif after or afterEntry then
      totals.missed = totals.missed + 1
    end
    if not after then
      inside[plate] = millis
    end
  end
end

-- Takes one event in and returns its line of the answer.
local function apply(id, member, millis, plate, extra)
  local isExit = kindOf(member) == exit
  local event = events[id]
  local isNew = not event or tonumber(slotOf(event), 32) < oldestSlot
  local found, before, after = find(plate, timelines[plate], member, isNew)
  if not (found or isNew) then
    return 'C'
  end
  local afterEntry, beforeExit = kindOf(before) == entry, kindOf(after) == exit
  local own, following = '1', nil -- revisions of its own stay and of that of the next exit
  if isNew then
    event = slotOf(member) .. extra
    events[id] = event
    newEvents[2 * newCount + 1], newEvents[2 * newCount + 2] = id, event
    newCount = newCount + 1
    observe(plate, isExit, millis, afterEntry, beforeExit, after)
    -- The stay of the next exit changes if its entry does.
    if beforeExit and (afterEntry or not isExit) then
      following = 1 + call('HINCRBY', key.revisions, idOf(after), '1')
      revised = true
    end
  elseif isExit then
    own = 1 + (call('HGET', key.revisions, id) or 0)
  end

  local answer = isNew and 'N' or 'D'
  if isExit then
    answer = answer .. '\t' .. member .. '\t' .. (afterEntry and before or '') .. '\t' .. own
  end
  if beforeExit then
    following = following or 1 + (call('HGET', key.revisions, idOf(after)) or 0)
    answer = answer .. '\t' .. after .. '\t' .. (isExit and '' or member) .. '\t' .. following
  end
  return answer
end

------------------------------------------------------------------------------------------
-- Helpers of sweep and write
------------------------------------------------------------------------------------------

-- Looks for what expired of plates that do not come again, or only late. All are looked
-- at within an eighth of the retention, however many events come: what is due since the
-- last time, at most 1,000 plates.
local function sweep()
  local cursor, size, at = match(swept or '0 0 0', '^(%d+) (%d+) (%d+)$')
  local now, known = tonumber(oldestMillis) + retention, call('HLEN', key.timelines)
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
  local following, found = unpack(call('HSCAN', key.timelines, cursor, 'COUNT', integer(math.min(due, 1000))))
  for i = 1, #found, 2 do
    local plate, text = found[i], found[i + 1]
    if not timelines[plate] and (sub(text, 1, 1) == '+' or not retained(text)) then
      timelines[plate] = parse(plate, text)
    end
    local line = timelines[plate]
    if line and line.unread then
      trim(plate, line)
    end
    if line and line.more or #forgotten >= maxForgotten then
      return -- the next call looks here again
    end
  end
  call('HSET', key.totals, 'swept', format('%s %d %d', following, size, now))
end

-- Adds numbers to the fields of a hash.
local function add(hash, numbers)
  local fields, values = {}, {}
  for field, n in pairs(numbers) do
    if n ~= 0 then
      fields[#fields + 1] = field
    end
  end
  if #fields == 0 then
    return
  end
  for i, value in ipairs(call('HMGET', hash, unpack(fields))) do
    local field = fields[i]
    values[2 * i - 1], values[2 * i] = field, integer((value or 0) + numbers[field])
  end
  call('HSET', hash, unpack(values))
end

-- Adds the counts of minutes to those of their days and to the total.
local function countMinutes(days, minutes, total, each)
  for minute, n in pairs(minutes) do
    local day = floor(minute / 1440)
    local numbers = days[day] or {}
    days[day] = numbers
    totals[total] = totals[total] + n
    numbers[total] = (numbers[total] or 0) + n
    numbers[each .. minute % 1440] = n
  end
end

------------------------------------------------------------------------------------------
-- Read: once a call, what its events are about
------------------------------------------------------------------------------------------

local ids, plates = {}, {}
for n = 1, (#argv - headArgs) / eventArgs do
  local i = headArgs + (n - 1) * eventArgs
  local plate = argv[i + 3]
  ids[n] = idOf(argv[i + 1])
  if not timelines[plate] then
    timelines[plate] = true
    plates[#plates + 1] = plate
  end
end
for n, value in ipairs(call('HMGET', key.events, unpack(ids))) do
  events[ids[n]] = value
end
for n, text in ipairs(call('HMGET', key.timelines, unpack(plates))) do
  local plate = plates[n]
  timelines[plate] = text and parse(plate, text) or { nil, older = false, changed = false }
end

------------------------------------------------------------------------------------------
-- Apply: one event after the other, each to what the ones before it left
------------------------------------------------------------------------------------------

local answer = {}
for n, id in ipairs(ids) do
  local i = headArgs + (n - 1) * eventArgs
  answer[n] = apply(id, argv[i + 1], argv[i + 2], argv[i + 3], argv[i + 4])
end

------------------------------------------------------------------------------------------
-- Sweep: some of what expired
------------------------------------------------------------------------------------------

sweep()

------------------------------------------------------------------------------------------
-- Write: once a call, what changed
------------------------------------------------------------------------------------------

if newCount > 0 then
  call('HSET', key.events, unpack(newEvents))
end
call('PEXPIREAT', key.events, expiry)
if revised then
  call('PEXPIREAT', key.revisions, expiry)
end

local texts, textCount, empty = {}, 0, {} -- texts: plates, each followed by its text
for plate, line in pairs(timelines) do
  if line.changed and #line == 0 then
    empty[#empty + 1] = plate
  elseif line.changed then
    local from, text = 1, line[1]
    if #line > most then
      from = #line - fewest + 1
      local moved = {}
      for i = 1, from - 1 do
        moved[2 * i - 1], moved[2 * i] = score(instant(line[i])), line[i]
      end
      call('ZADD', key.older .. plate, unpack(moved))
      keepOlder(plate)
      line.older = true
    end
    if line.older or #line > 1 then
      text = (line.older and '+' or '') .. table.concat(line, '\n', from)
    end
    texts[2 * textCount + 1], texts[2 * textCount + 2] = plate, text
    textCount = textCount + 1
  end
end
if textCount > 0 then
  call('HSET', key.timelines, unpack(texts))
end
if #empty > 0 then
  call('HDEL', key.timelines, unpack(empty))
end
call('PEXPIREAT', key.timelines, expiry)

-- An id has the plate with it, which could not be found and erased any more without the
-- member. An id that is that of a later event by now stays.
for from = 1, #forgotten, maxForgotten do
  local members = { unpack(forgotten, from, math.min(from + maxForgotten - 1, #forgotten)) }
  local old, unused = {}, {}
  for n, member in ipairs(members) do
    old[n] = idOf(member)
  end
  for n, value in ipairs(call('HMGET', key.events, unpack(old))) do
    if value and slotOf(value) == slotOf(members[n]) then
      unused[#unused + 1] = old[n]
    end
  end
  if #unused > 0 then
    call('HDEL', key.events, unpack(unused))
    call('HDEL', key.revisions, unpack(unused))
  end
end

local entered, enteredCount, left = {}, 0, {} -- entered: millis, each followed by its plate
for plate, millis in pairs(inside) do
  if millis then
    entered[2 * enteredCount + 1], entered[2 * enteredCount + 2] = millis, plate
    enteredCount = enteredCount + 1
  else
    left[#left + 1] = plate
  end
end
if enteredCount > 0 then
  call('ZADD', key.inside, unpack(entered))
end
if #left > 0 then
  call('ZREM', key.inside, unpack(left))
end
call('ZREMRANGEBYSCORE', key.inside, '-inf', '(' .. oldestMillis)
call('PEXPIREAT', key.inside, expiry)

local days = {} -- day since 1970 -> numbers to add
countMinutes(days, entriesAt, 'entries', 'e')
countMinutes(days, exitsAt, 'exits', 'x')
for day, numbers in pairs(days) do
  add(key.day .. day, numbers)
  call('PEXPIREAT', key.day .. day, integer((day + 1) * dayMillis + retention))
end
add(key.totals, totals)
-- The totals and the counts by hand stay until the site is forgotten.
call('PEXPIREAT', key.totals, lastExpiry)
if countedAt < math.huge then
  call('PEXPIREAT', key.corrections, lastExpiry)
end

return table.concat(answer, '\n')
