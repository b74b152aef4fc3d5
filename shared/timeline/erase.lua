-- Removes every trace of a plate at a site.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  the normalised plate
--
-- Returns JSON: how many events and how many keys were removed. The id of an event, the
-- revision of a stay, each of the two places of a timeline and the place among the
-- vehicles inside count as keys.
--
-- An error in the middle keeps what was done before it. So what can fail comes first, and
-- what names the rest goes last: a repeated erasure finds it.

local plate = ARGV[1]
local older = key.older .. plate

-- May it write, and is each key of its type?
local refused = refusal({
  { 'HDEL', key.events, 'x' },
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

-- Read.
local members = call('ZRANGE', older, 0, -1)
for member in string.gmatch(call('HGET', key.timelines, plate) or '', eachMember) do
  members[#members + 1] = member
end

-- Write.
local removed = 0
for _, member in ipairs(members) do
  local id = idOf(member)
  -- Not if it is the id of a later event by now: see record.lua.
  if slotOf(call('HGET', key.events, id) or '') == slotOf(member) then
    removed = removed + call('HDEL', key.revisions, id) + call('HDEL', key.events, id)
  end
end
removed = removed + call('ZREM', key.inside, plate) + call('UNLINK', older) + call('HDEL', key.timelines, plate)
return '{"events":' .. #members .. ',"keys":' .. removed .. '}'
