-- Adds events of one site to the timelines of their plates and keeps the site's state.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  retention in milliseconds
-- ARGV[2]  oldest retained instant, as in a member
-- ARGV[3]  oldest retained instant in milliseconds since 1970
-- ARGV[4]  what a repeat is: for each setting, the latest first, the instant from which
--          it is valid and the nanoseconds within which a read repeats another
-- ARGV[5]  the events with a version that a person gave: milliseconds of the observation
--          and id of each, one a line
-- ARGV[6]  nothing; or of events that are recorded all or none the versions that they take
--          the place of, in their order, with spaces between them
-- ARGV[7]  nothing; or with such events the field of key.rejections of a pair that must not be
--          rejected
-- then four for each event:
--   member  see layout.lua; of a void event with the time of this call
--   millis  of the observation, since 1970
--   plate   normalised, or noPlate or void
--   kept    what is kept of the event; see parseEvent
--
-- Returns a line for each event: a letter, N(ew, also a new version), D(uplicate),
-- S(uperseded), C(onflict) or O(ld, cannot be amended), and for each stay that the event
-- affects four fields, each after a tab: member of the exit; member of the entry, 'r' of a
-- repeat, 'v' of a void stay or nothing, and before that the JSON of a decision, if there is
-- one; revision; plate, or nothing if it is that of the event. Those are
--   its own stay, if it is an exit, or was one in a version before
--   that of the exit directly after it
--   those of the exits directly after its former places
--   those of exits that a decision gave an entry which means something else by this event
-- whether they changed or not: the caller may have died before it posted a change, and
-- the event that it was changed by may be their neighbour no more.
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
--   e        e1 -> 3iknKA01, x1 -> 3ikoKA01
--   t        KA01 -> 3ikns0dpj6a000e1 and 3iko0tiu4g6001x1, one a line
--   r        x1 -> 1: the stay changed once, so its revision is 2
--   n        entries 1, exits 1, completed 1, unmatched 0
--   d:47808  entries 1, exits 1, e495 1, x585 1
--
-- After the functions the phases stand in order: read, apply, sweep, write. A change goes
--   to the arguments above and to `eventArgs`, if a script has to know more of an event
--   to `apply` and `amend`, if it is about which events there are
--   to `link`, if it is about what an event means beside its neighbours
--   to `observe`, if it is about what an event counts by itself
--   to `affected`, if it is about which stays an event answers for
--   to layout.lua, layout.go and write, if something else is stored. Write is once a call;
--   only revisions and the older members of long timelines are written event by event.

-- A timeline is read and written whole up to this many members. If it has more, all but
-- the fewest newest become older members.
local most, fewest = 16, 8
-- An event keeps at most so many former places. Each is searched at each delivery: 250
-- events with 16 of them took Redis up to 70 ms.
local mostPlaces = 8
-- Upper bound on expired members removed per call, to keep the script short.
local maxForgotten = 1000

local argv = ARGV
local headArgs, eventArgs = 7, 4
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
local events = {}                 -- id -> what is kept of the event, or false
local amended = {}                -- ids of events with a new version
local newEvents, newCount = {}, 0 -- ids, each followed by what is kept; how many
local forgotten = {}              -- members that are no part of a timeline any more
local revised = false             -- whether a revision was written
local inside = {}                 -- plate -> millis of its entry, or false
local reopened = {}               -- plates whose last event was taken out
local touched = {}                -- entries that mean something else, perhaps -> number of the event
local current                     -- the number of the event that is applied
local lone = {}                   -- member of key.lone -> its score, or false
local first = {}                  -- those of exits that were the first of their plate
local totals = {
  entries = 0, exits = 0, completed = 0, unmatched = 0, missed = 0, since = 0,
  repeated_entries = 0, repeated_exits = 0, no_plate_entries = 0, no_plate_exits = 0,
}
local entriesAt, exitsAt = {}, {} -- minute since 1970 -> how many
local countedAt, swept, decided, loneSince = unpack(call('HMGET', key.totals, 'counted_at', 'swept', 'decided', 'lone_since'))
countedAt = tonumber(countedAt or math.huge) -- later than all events without a count
decided = decided and instant(decided)
if not loneSince then -- what an earlier version recorded is not among the lone reads
  loneSince = call('EXISTS', key.events) == 1 and integer(tonumber(oldestMillis) + retention) or '0'
  call('HSET', key.totals, 'lone_since', loneSince)
end

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

-- Reads the newest members of a timeline of which they are unread.
local function read(plate, line)
  readAll(line, line.unread)
  trim(plate, line)
end

-- Reports whether a member is in a timeline, and returns its neighbours if it is. With
-- insert, a member that is missing is put in first.
local function find(plate, line, member, insert)
  local at = instant(member)
  if line.older and precedes(member, line[1], at) then
    return findOlder(plate, line, member, at, insert)
  end
  if line.unread then
    read(plate, line)
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

-- Returns the timeline of a plate that need not be that of an event of this call.
local function lineOf(plate)
  local line = timelines[plate]
  if not line then
    local text = call('HGET', key.timelines, plate)
    line = text and parse(plate, text) or { nil, older = false, changed = false }
    timelines[plate] = line
  end
  return line
end

-- Takes a member out of a timeline that has it.
local function takeOut(plate, line, member)
  if line.older and precedes(member, line[1]) then
    call('ZREM', key.older .. plate, member)
    line.older = keepOlder(plate)
    if not line.older then
      if line.unread then
        read(plate, line)
      end
      line.changed = true
    end
    return
  end
  for i, other in ipairs(line) do
    if other == member then
      table.remove(line, i)
      break
    end
  end
  line.changed = true
  if #line == 0 and line.older then -- there are newest members as long as there are older ones
    readAll(line, table.concat(call('ZRANGE', key.older .. plate, integer(-fewest), '-1'), '\n'))
    call('ZREM', key.older .. plate, unpack(line))
    line.older = keepOlder(plate)
  end
end

-- Returns the neighbours that a member has, or would have if it were in a timeline.
local function neighbours(plate, line, member)
  if line.unread and not precedes(member, line[1]) then
    read(plate, line)
  end
  local changed = line.changed
  local found, before, after = find(plate, line, member, true)
  if not found then
    takeOut(plate, line, member)
    line.changed = changed
  end
  return before, after
end

------------------------------------------------------------------------------------------
-- What events mean
------------------------------------------------------------------------------------------

-- Within how many nanoseconds a member repeats one of its kind.
local settings
local function repeatWithin(member)
  if not settings then
    settings = {}
    for from, within in string.gmatch(argv[4], '(%S+) (%d+)') do
      settings[#settings + 1] = { from = from, within = tonumber(within) }
    end
  end
  for _, setting in ipairs(settings) do
    if not precedes(member, setting.from) then
      return setting.within
    end
  end
  return 0
end

-- Returns camera and gate of an event.
local function seenBy(id)
  if events[id] == nil then
    events[id] = call('HGET', key.events, id)
  end
  local kept = events[id]
  if not kept then
    return '', ''
  end
  local e = parseEvent(kept)
  return e.camera, e.gate
end

-- Reports whether member b repeats a, which is of its kind and directly before it: the
-- rule of parking.Repeats.
local function isRepeat(a, b)
  local within = repeatWithin(b)
  local high, low = halves(a)
  local laterHigh, laterLow = halves(b)
  if within == 0 or (laterHigh - high) * half + laterLow - low > within then
    return false
  end
  local first, firstGate = seenBy(idOf(a))
  local second, secondGate = seenBy(idOf(b))
  if first == '' or second == '' then
    first, second = firstGate, secondGate
  end
  return first ~= '' and first == second
end

-- Returns what an exit means: the member of its entry, 'r' if it is a repeat, or '' if it
-- is unmatched.
local function meaning(before, member)
  if kindOf(before) == entry then
    return before
  end
  return before and isRepeat(before, member) and 'r' or ''
end

-- Notes an entry that means something else from now on, unless it is later than all that
-- were given ever: most are.
local function touch(member)
  if instant(member) <= decided then
    touched[member] = current
  end
end

-- Counts, times sign, what a member and the one before it, if there is one, mean to each
-- other. Returns the meaning of the later one if it is an exit. millis are those of member, if
-- they are known.
local function link(plate, before, member, sign, millis)
  local afterEntry = before and byte(before, 14) == entry
  if afterEntry and decided then
    touch(before)
  end
  if byte(member, 14) == exit then
    if afterEntry then
      totals.completed = totals.completed + sign
      return before
    elseif before and isRepeat(before, member) then
      totals.repeated_exits = totals.repeated_exits + sign
      if millisOf(member) > countedAt then
        totals.since = totals.since + sign
      end
      return 'r'
    end
    totals.unmatched = totals.unmatched + sign
    local one = loneOf(member, plate)
    if sign > 0 then
      lone[one] = millis or integer(millisOf(member))
    else
      if not before and lone[one] == nil and (loneSince == '0' or millisOf(member) > tonumber(loneSince)) then
        first[#first + 1] = one
      else
        lone[one] = false
      end
    end
    return ''
  end
  if afterEntry then
    if isRepeat(before, member) then
      totals.repeated_entries = totals.repeated_entries + sign
      if millisOf(before) > countedAt then
        totals.since = totals.since - sign
      end
    else
      totals.missed = totals.missed + sign
      lone[loneOf(before, plate)] = sign > 0 and integer(-millisOf(before))
    end
  end
end

-- Counts, times sign, what an event is by itself.
local function observe(plate, isExit, millis, sign)
  local at = tonumber(millis)
  local minutes, minute = isExit and exitsAt or entriesAt, (at - at % minuteMillis) / minuteMillis
  minutes[minute] = (minutes[minute] or 0) + sign
  if at > countedAt then
    totals.since = totals.since + (isExit and -sign or sign)
  end
  if plate == noPlate then
    local total = isExit and 'no_plate_exits' or 'no_plate_entries'
    totals[total] = totals[total] + sign
  end
end

-- Puts an event into its timeline, and counts that. Returns what it means if it is an
-- exit; and of the exit directly after it the member, what it meant and what it means.
local function put(plate, member, millis)
  local _, before, after = find(plate, timelines[plate] or lineOf(plate), member, true)
  if plate == void then
    return
  end
  local isExit = byte(member, 14) == exit
  observe(plate, isExit, millis, 1)
  if plate == noPlate then
    return
  end
  if after then
    local meant = link(plate, before, after, -1)
    local own = link(plate, before, member, 1, millis)
    return own, meant and after, meant, link(plate, member, after, 1)
  elseif isExit then
    if byte(before or member, 14) == entry then
      inside[plate] = false
    end
  else
    inside[plate] = millis
  end
  if before or isExit then
    return link(plate, before, member, 1, millis)
  end
end

-- Takes an event out of its timeline, and counts that. Returns what put does, in reverse.
local function remove(plate, member)
  local line = lineOf(plate)
  local found, before, after = find(plate, line, member, false)
  if not found then
    return
  end
  takeOut(plate, line, member)
  if plate == void or not retained(member) then
    return
  end
  observe(plate, kindOf(member) == exit, millisOf(member), -1)
  if plate == noPlate then
    return
  end
  if decided and kindOf(member) == entry then
    touch(member)
  end
  local own = link(plate, before, member, -1)
  if after then
    local meant = link(plate, member, after, -1)
    return own, meant and after, meant, link(plate, before, after, 1)
  end
  inside[plate] = kindOf(before) == entry and integer(millisOf(before))
  reopened[plate] = true
  return own
end

------------------------------------------------------------------------------------------
-- One event
------------------------------------------------------------------------------------------

-- Keeps what is kept of a version.
local function keep(id, kept)
  events[id] = kept
  newEvents[2 * newCount + 1], newEvents[2 * newCount + 2] = id, kept
  newCount = newCount + 1
end

-- Returns what is kept of an event with the whole member in its first line.
local function withMember(kept, member, plate)
  return headOf(member, plate) .. (match(kept, '\n.*') or '')
end

local function hasLines(kept)
  return string.find(kept, '\n', 1, true)
end

local function revision(id)
  return integer(1 + (call('HGET', key.revisions, id) or 0))
end

-- Changes a stay. What was decided of it was so of another one.
local function revise(id)
  revised = true
  if decided then
    forgetDecision(id)
  end
  return integer(1 + call('HINCRBY', key.revisions, id, '1'))
end

-- The fields of a stay in the answer. One of which something else was decided is told so:
-- whatever is posted of a stay at one revision is the same.
local function stay(member, meant, at, plate)
  local text = decided and call('HGET', key.decisions, idOf(member))
  if text then
    local d = parseDecision(text)
    if d.state ~= 'w' then
      meant = d.stay .. d.entry
    end
  end
  return '\t' .. member .. '\t' .. meant .. '\t' .. at .. '\t' .. plate
end

-- The newest place at which an event was an exit.
local function lastExit(places)
  for i = #places, 1, -1 do
    if kindOf(places[i].member) == exit then
      return places[i]
    end
  end
end

-- Adds a former place to those of an event, and drops the oldest one if there are too
-- many. The newest exit stays: by it is known that there was a stay.
local function addPlace(id, places, member, plate)
  for i, place in ipairs(places) do
    if place.member == member and place.plate == plate then
      table.remove(places, i)
      break
    end
  end
  places[#places + 1] = { member = member, plate = plate }
  call('ZADD', key.former, '0', formerOf(plate, id))
  call('PEXPIREAT', key.former, expiry)
  if #places > mostPlaces then
    local dropped = table.remove(places, places[1] == lastExit(places) and 2 or 1)
    for _, place in ipairs(places) do
      if place.plate == dropped.plate then
        return
      end
    end
    call('ZREM', key.former, formerOf(dropped.plate, id))
  end
end

-- Forgets the former places of an event.
local function forgetPlaces(id, kept)
  if hasLines(kept) then
    for _, place in ipairs(parsePlaces(parseEvent(kept).places, id)) do
      call('ZREM', key.former, formerOf(place.plate, id))
    end
  end
end

-- Returns the member of the version that counts, or nil if it expired or its plate is not
-- known.
local function placeOf(id, kept, plate)
  local member = wholeMember(id, kept)
  if not member then
    local line = lineOf(plate)
    if line.unread then
      read(plate, line)
    end
    member = searchMember(id, kept, plate, line, line.older)
  end
  return member
end

-- Returns the fields of the stays that an event with former places answers for.
local function affected(id)
  local kept = events[id]
  local plate, places = plateOf(kept), parsePlaces(parseEvent(kept).places, id)
  local fields, told = {}, {}
  local function tell(member, meant, plate)
    if not told[idOf(member)] then
      told[idOf(member)] = true
      fields[#fields + 1] = stay(member, meant, revision(idOf(member)), plate)
    end
  end
  -- The exit at or directly after a place.
  local function tellAfter(member, plate)
    if kindOf(member) == exit then
      local _, before = find(plate, lineOf(plate), member, false)
      tell(member, meaning(before, member), plate)
    end
  end
  local member = isPaired(plate) and placeOf(id, kept, plate)
  if member then
    local found, _, after = find(plate, lineOf(plate), member, false)
    if found then
      tellAfter(member, plate)
      tellAfter(after, plate)
    else -- it expired
      member = nil
    end
  end
  local left = lastExit(places)
  if left and (member or not isPaired(plate)) then -- not told yet: it is no exit any more
    tell(left.member, 'v', left.plate)
  end
  for _, place in ipairs(places) do
    if retained(place.member) then
      local _, after = neighbours(place.plate, lineOf(place.plate), place.member)
      tellAfter(after, place.plate)
    end
  end
  return table.concat(fields)
end

-- Takes a higher version of an event in, and returns its line of the answer.
local function amend(id, kept, member, millis, plate, new)
  local from = plateOf(kept)
  local isOld = from == '' -- of version 0.1.0, which kept no plate
  if isOld then
    from = plate
  end
  local old = placeOf(id, kept, from)
  if isOld and not (old and isPaired(from)) then
    return 'O'
  end

  local places = parsePlaces(parseEvent(kept).places, id)
  local was = (lastExit(places) or not old) and 'v' -- the state of its own stay
  local stays = {}                     -- member of an exit after it -> what that meant
  local means = {}                     -- and means now
  local function note(after, before, now)
    if after then
      stays[after] = stays[after] or before
      means[after] = now
    end
  end
  if old then
    local own, after, before, now = remove(from, old)
    note(after, before, now)
    if isPaired(from) then
      if kindOf(old) == exit then
        was = from .. old .. (own or '')
      end
      if old ~= member or from ~= plate then
        addPlace(id, places, old, from)
      end
    end
  end
  if plate == void then -- it is known for as long as what it makes void may come again
    local newest = old
    for _, place in ipairs(places) do
      if not newest or precedes(newest, place.member) then
        newest = place.member
      end
    end
    member = sub(newest or member, 1, 13) .. sub(member, 14)
  end

  local event = parseEvent(new)
  event.head, event.places = headOf(member, plate), formatPlaces(places)
  keep(id, formatEvent(event))
  amended[id] = true
  local own, after, before, now = put(plate, member, millis)
  note(after, before, now)
  local is = own and plate .. member .. own or lastExit(places) and 'v'
  if is and was and is ~= was then
    revise(id)
  end
  for after, before in pairs(stays) do
    if before ~= means[after] then
      revise(idOf(after))
    end
  end
  return 'N' .. affected(id)
end

-- Takes one event in and returns its line of the answer.
local function apply(id, member, millis, plate, new)
  local kept = events[id]
  if kept and tonumber(slotOf(kept), 32) < oldestSlot then -- that event expired
    forgetPlaces(id, kept)
    if decided then
      forgetDecision(id)
    end
    kept = nil
  end
  if not kept then
    if timelines[plate].older then
      new = withMember(new, member, plate)
    end
    keep(id, new)
    local own, after, meant, means = put(plate, member, millis)
    local answer = own and 'N\t' .. member .. '\t' .. own .. '\t1\t' or 'N'
    if after then
      local at = meant == means and revision(idOf(after)) or revise(idOf(after))
      answer = answer .. stay(after, means, at, '')
    end
    return answer
  end

  local version, known = versionOf(new), versionOf(kept)
  if version > known then
    return amend(id, kept, member, millis, plate, new)
  elseif version < known then
    return 'S' .. affected(id)
  end
  local current = plateOf(kept)
  if current ~= plate and current ~= '' then
    return 'C'
  end
  if plate == void then
    return 'D' .. affected(id)
  end
  local found, before, after = find(plate, timelines[plate], member, false)
  if not found then
    return 'C'
  end
  if current == noPlate or version > 1 then -- it may have former places
    return 'D' .. affected(id)
  end
  local answer = 'D'
  if kindOf(member) == exit then
    answer = answer .. stay(member, meaning(before, member), revision(id), '')
  end
  if kindOf(after) == exit then
    answer = answer .. stay(after, meaning(member, after), revision(idOf(after)), '')
  end
  return answer
end

-- Reports whether a version takes the place of version was of its event, or is kept already:
-- the answer of a call before may be lost.
local function follows(id, new, was)
  local kept = events[id]
  if not kept or plateOf(kept) == '' or tonumber(slotOf(kept), 32) < oldestSlot then
    return false
  elseif versionOf(kept) == was then
    return true
  end
  local event = parseEvent(kept)
  event.places = ''
  return formatEvent(event) == new
end

------------------------------------------------------------------------------------------
-- Decisions
------------------------------------------------------------------------------------------

-- Reports whether a decision may give its entry still: that is there and no repeat, and the
-- exit after it, if there is one, has what a decision gives it.
local function keeps(d)
  local found, _, after = find(d.entryPlate, lineOf(d.entryPlate), d.entry, false)
  if not found then
    return false
  elseif kindOf(after) == entry then
    return not isRepeat(d.entry, after)
  elseif not after then
    return true
  end
  local text = call('HGET', key.decisions, idOf(after))
  local other = text and parseDecision(text)
  return other and other.state ~= 'w' -- each entry is given once
end

-- Withdraws what was decided of an exit, and returns the fields of its stay. What it has by
-- the pairing rule is taken from the exit that it is given to.
local function withdraw(id, d)
  local fields = {}
  while d do
    local found, before = find(d.exitPlate, lineOf(d.exitPlate), d.exit, false)
    if not found then -- it expired
      forgetDecision(id)
      break
    end
    local meant = meaning(before, d.exit)
    local w = withdrawalOf(d, revise(id), meant)
    writeDecision(id, w, expiry)
    fields[#fields + 1] = stay(d.exit, meant, w.revision, d.exitPlate)
    id, d = holderOf(meant)
  end
  return table.concat(fields)
end

-- Withdraws the decisions that give an exit an entry which means something else by now. The
-- events by which that is so answer for those stays, too.
local function withdrawTouched(answer)
  local members, ids = {}, {}
  for member in pairs(touched) do
    members[#members + 1] = member
    ids[#ids + 1] = idOf(member)
  end
  if #ids == 0 then
    return
  end
  for i, holder in ipairs(call('HMGET', key.given, unpack(ids))) do
    if holder then
      local id, d = holderOf(members[i])
      if id and not keeps(d) then
        local n = touched[members[i]]
        answer[n] = answer[n] .. withdraw(id, d)
      end
    end
  end
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
  call('ZREMRANGEBYSCORE', key.lone, '(' .. integer(-oldestMillis), '(' .. oldestMillis)
  call('ZREMRANGEBYSCORE', key.gone, '-inf', '(' .. oldestMillis)
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

-- Keeps the whole member with each event of a timeline that becomes long. A member of
-- another one, which has its id by now, is left out.
local function keepMembers(plate, line)
  local ids, values, n = {}, {}, 0
  for i, member in ipairs(line) do
    ids[i] = idOf(member)
  end
  for i, kept in ipairs(call('HMGET', key.events, unpack(ids))) do
    if kept and slotOf(kept) == slotOf(line[i]) and plateOf(kept) == plate and not wholeMember(ids[i], kept) then
      values[n + 1], values[n + 2], n = ids[i], withMember(kept, line[i], plate), n + 2
    end
  end
  if n > 0 then
    call('HSET', key.events, unpack(values))
  end
end

-- Forgets the decisions about events that are forgotten, entries or exits.
local function forgetDecisions(ids)
  for _, exits in ipairs({ ids, call('HMGET', key.given, unpack(ids)) }) do
    for _, id in ipairs(exits) do
      if id then
        forgetDecision(id)
      end
    end
  end
end

-- Takes the plates of vehicles that are inside, or left, by another event than before from
-- those whose entry a decision gives to an exit. An entry that was amended, or is the last
-- event again, may be such a one still.
local function writeGone(plates)
  callAll('ZREM', key.gone, plates)
  for _, plate in ipairs(plates) do
    local millis, line = inside[plate], timelines[plate]
    local last = millis and line[#line]
    if last and (reopened[plate] or amended[idOf(last)]) then
      local _, d = holderOf(last)
      if d and d.entryPlate == plate then
        call('ZADD', key.gone, millis, plate)
      end
    end
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
if argv[6] ~= '' then
  local n, all = 0, argv[7] == '' or rejectionOf(argv[7], oldest) ~= '1'
  for was in string.gmatch(argv[6], '%d+') do
    n = n + 1
    all = all and follows(ids[n], argv[headArgs + n * eventArgs], tonumber(was))
  end
  if not all then
    return string.rep('C\n', n)
  end
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
  current = n
  answer[n] = apply(id, argv[i + 1], argv[i + 2], argv[i + 3], argv[i + 4])
end

withdrawTouched(answer)

------------------------------------------------------------------------------------------
-- Sweep: some of what expired
------------------------------------------------------------------------------------------

sweep()

------------------------------------------------------------------------------------------
-- Write: once a call, what changed
------------------------------------------------------------------------------------------

-- An exit that was the first of its plate and is not among the lone reads was counted as
-- completed: its entry has expired since. So was a repeat of an exit that has, which is rare.
if #first > 0 then
  local taken, again = first, {}
  if next(lone) ~= nil then
    taken = {}
    for _, one in ipairs(first) do
      if lone[one] then
        again[#again + 1] = one
      else
        taken[#taken + 1], lone[one] = one, nil
      end
    end
  end
  local missing = #taken - callAll('ZREM', key.lone, taken)
  for _, score in ipairs(#again > 0 and call('ZMSCORE', key.lone, unpack(again)) or {}) do
    missing = missing + (score and 0 or 1)
  end
  totals.unmatched = totals.unmatched + missing
  totals.completed = totals.completed - missing
end

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
      if not line.older then
        keepMembers(plate, line)
      end
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
callAll('HSET', key.timelines, texts)
callAll('HDEL', key.timelines, empty)
call('PEXPIREAT', key.timelines, expiry)

-- An id has plates with it, which could not be found and erased any more without the
-- member. An id that is that of a later event or version by now stays.
for from = 1, #forgotten, maxForgotten do
  local members = { unpack(forgotten, from, math.min(from + maxForgotten - 1, #forgotten)) }
  local old, unused = {}, {}
  for n, member in ipairs(members) do
    old[n] = idOf(member)
  end
  for n, value in ipairs(call('HMGET', key.events, unpack(old))) do
    if value and slotOf(value) == slotOf(members[n]) and not amended[old[n]] then
      unused[#unused + 1] = old[n]
      forgetPlaces(old[n], value)
    end
  end
  if #unused > 0 then
    call('HDEL', key.events, unpack(unused))
    call('HDEL', key.revisions, unpack(unused))
    if decided then
      forgetDecisions(unused)
    end
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
callAll('ZADD', key.inside, entered)
callAll('ZREM', key.inside, left)
call('ZREMRANGEBYSCORE', key.inside, '-inf', '(' .. oldestMillis)
call('PEXPIREAT', key.inside, expiry)
if decided then
  for i = 2, #entered, 2 do
    left[#left + 1] = entered[i]
  end
  writeGone(left)
end

local args, count, found = {}, 0, {} -- args: scores, each followed by its member
for member, score in pairs(lone) do
  if score then
    args[2 * count + 1], args[2 * count + 2] = score, member
    count = count + 1
  else
    found[#found + 1] = member
  end
end
if count > 0 then
  callAll('ZADD', key.lone, args)
  call('PEXPIREAT', key.lone, expiry)
end
callAll('ZREM', key.lone, found)

local corrected = {}
for text in string.gmatch(argv[5], '[^\n]+') do
  corrected[#corrected + 1] = text
end
if #corrected > 0 then
  call('ZADD', key.corrected, unpack(corrected))
  call('ZREMRANGEBYSCORE', key.corrected, '-inf', '(' .. oldestMillis)
  call('PEXPIREAT', key.corrected, expiry)
end

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
