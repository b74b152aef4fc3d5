-- Removes every trace of a plate at a site. An event that had the plate in a version before
-- and has another one now, or is void, stays: only its former places with the plate go.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  the normalised plate
--
-- Returns JSON: how many events and how many keys were removed. The id of an event, the
-- revision of a stay, each of the two places of a timeline, the place among the vehicles
-- inside and each event that had the plate in a version before count as keys.
--
-- An error in the middle keeps what was done before it. So what can fail comes first, and
-- what names the rest goes last: a repeated erasure finds it.

local plate = ARGV[1]
local older = key.older .. plate

-- May it write, and is each key of its type?
local refused = refusal({
  { 'HDEL', key.events, 'x' },
  { 'HSET', key.events, 'x' },
  { 'ZREM', key.former, plate },
  { 'HDEL', key.revisions, 'x' },
  { 'ZREM', key.inside, plate },
  { 'HDEL', key.timelines, plate },
  { 'UNLINK', older },
}, 'events')
if refused then
  return refused
end
call('HEXISTS', key.events, 'x')
call('HEXISTS', key.revisions, 'x')
call('ZSCORE', key.inside, plate)
call('ZSCORE', key.former, plate)

-- Read.
local members = call('ZRANGE', older, 0, -1)
for member in string.gmatch(call('HGET', key.timelines, plate) or '', eachMember) do
  members[#members + 1] = member
end
local formers = call('ZRANGE', key.former, '[' .. plate .. '\n', '(' .. plate .. '\v', 'BYLEX')

-- Write.
local removed = 0
for _, former in ipairs(formers) do
  local id = sub(former, #plate + 2)
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
for _, member in ipairs(members) do
  local id = idOf(member)
  local kept = call('HGET', key.events, id) or ''
  -- Not if it is the id of a later event by now: see record.lua.
  if slotOf(kept) == slotOf(member) then
    for _, place in ipairs(parsePlaces(parseEvent(kept).places, id)) do
      call('ZREM', key.former, formerOf(place.plate, id))
    end
    removed = removed + call('HDEL', key.revisions, id) + call('HDEL', key.events, id)
  end
end
removed = removed + call('ZREM', key.inside, plate) + call('UNLINK', older) + call('HDEL', key.timelines, plate)
return '{"events":' .. #members .. ',"keys":' .. removed .. '}'
