-- Removes every trace of a plate at a site. An event that had the plate in a version before
-- and has another one now, or is void, stays: only its former places with the plate go. An
-- exit of another plate that was given an entry of this one is without it: that is a
-- withdrawal, which is posted as others are.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  the normalised plate
-- ARGV[2]  oldest retained instant, as in a member
-- ARGV[3]  when what is written expires, in milliseconds since 1970
--
-- Returns JSON: how many events and how many keys were removed. The id of an event, the
-- revision of a stay, each of the two places of a timeline, the place among the vehicles
-- inside and each event that had the plate in a version before count as keys.
--
-- An error in the middle keeps what was done before it. So what can fail comes first, and
-- what names the rest goes last: a repeated erasure finds it.

local plate, oldest, expiry = ARGV[1], ARGV[2], ARGV[3]
local older = key.older .. plate

-- May it write, and is each key of its type?
local refused = refusal({
  { 'HDEL', key.events, 'x' },
  { 'HSET', key.events, 'x' },
  { 'ZREM', key.former, plate },
  { 'ZREM', key.unfinished, plate },
  { 'HDEL', key.revisions, 'x' },
  { 'ZREM', key.inside, plate },
  { 'HDEL', key.timelines, plate },
  { 'UNLINK', older },
  { 'ZREM', key.lone, plate },
  { 'HDEL', key.decisions, 'x' },
  { 'HSET', key.decisions, 'x' },
  { 'ZADD', key.decided, 'x' },
  { 'ZREM', key.decided, 'x' },
  { 'HINCRBY', key.revisions, 'x' },
  { 'HDEL', key.given, 'x' },
  { 'ZREM', key.gone, plate },
  { 'HDEL', key.rejections, 'x' },
  { 'ZREM', key.rejectedAt, 'x' },
  { 'ZREM', key.rejectedOf, plate },
  { 'ZREM', key.corrected, 'x' },
}, 'events')
if refused then
  return refused
end
call('HEXISTS', key.events, 'x')
call('HEXISTS', key.revisions, 'x')
call('ZSCORE', key.inside, plate)
call('ZSCORE', key.former, plate)
call('ZSCORE', key.lone, plate)
call('HEXISTS', key.decisions, 'x')
call('ZSCORE', key.decided, 'x')
call('HEXISTS', key.given, 'x')
call('ZSCORE', key.gone, plate)
call('HEXISTS', key.rejections, 'x')
call('ZSCORE', key.rejectedAt, 'x')
call('ZSCORE', key.rejectedOf, plate)
call('ZSCORE', key.corrected, 'x')
call('ZSCORE', key.unfinished, plate)

-- Read.
local members = call('ZRANGE', older, 0, -1)
for member in string.gmatch(call('HGET', key.timelines, plate) or '', eachMember) do
  members[#members + 1] = member
end
local formers = call('ZRANGE', key.former, '[' .. plate .. '\n', '(' .. plate .. '\v', 'BYLEX')
local isDecided, isRejected = call('EXISTS', key.decisions) == 1, call('EXISTS', key.rejectedOf) == 1

-- Takes what was decided of the plate back, as far as an event is about it.
local function undecide(id)
  local holder = call('HGET', key.given, id)
  for _, exitID in ipairs({ id, holder or nil }) do
    local text = call('HGET', key.decisions, exitID)
    local d = text and parseDecision(text)
    if d and d.exitPlate == plate then
      forgetDecision(exitID)
    elseif d and d.entryPlate == plate then
      withdraw(exitID, d, oldest, expiry)
    end
  end
end

-- Forgets the rejections of an event, some at a time.
local function unreject(id)
  local found
  repeat
    found = call('ZRANGE', key.rejectedOf, '[' .. id .. '\n', '(' .. id .. '\v', 'BYLEX', 'LIMIT', '0', '1000')
    local fields = {}
    for i, text in ipairs(found) do
      fields[i] = sub(text, #id + 2)
    end
    dropRejections(fields)
    callAll('ZREM', key.rejectedOf, found)
  until #found == 0
end

-- Write.
local removed, lone = 0, {}
for _, former in ipairs(formers) do
  local id = sub(former, #plate + 2)
  if isDecided then
    undecide(id)
  end
  local kept = call('HGET', key.events, id)
  if kept then
    local event, others = parseEvent(kept), {}
    for _, place in ipairs(parsePlaces(event.places, id)) do
      if place.plate ~= plate then
        others[#others + 1] = place
      end
    end
    event.places = formatPlaces(others)
    call('HSET', key.events, id, formatEvent(event))
  end
  removed = removed + call('ZREM', key.former, former)
end
for n, member in ipairs(members) do
  local id = idOf(member)
  if isRejected then
    unreject(id)
  end
  if isDecided then
    undecide(id)
  end
  lone[n] = loneOf(member, plate)
  local kept = call('HGET', key.events, id) or ''
  -- Not if it is the id of a later event by now: see record.lua.
  if slotOf(kept) == slotOf(member) then
    for _, place in ipairs(parsePlaces(parseEvent(kept).places, id)) do
      call('ZREM', key.former, formerOf(place.plate, id))
    end
    call('ZREM', key.unfinished, id)
    call('ZREM', key.corrected, id)
    removed = removed + call('HDEL', key.revisions, id) + call('HDEL', key.events, id)
  end
end
callAll('ZREM', key.lone, lone)
call('ZREM', key.gone, plate)
removed = removed + call('ZREM', key.inside, plate) + call('UNLINK', older) + call('HDEL', key.timelines, plate)
return '{"events":' .. #members .. ',"keys":' .. removed .. '}'
