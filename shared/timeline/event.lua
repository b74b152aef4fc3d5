-- Reads events: one by its id, or the newest without a plate.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  id of the event, or nothing
-- ARGV[2]  without an id: how many events to return at most
-- ARGV[3]  without an id: the member before which to begin, or nothing
--
-- Returns for each event, the newest first, its member and what is kept of it, with a tab
-- between them and a carriage return between events.

-- Returns the newest members of a plate, and whether it has older ones.
local function newestOf(plate)
  local text, members = call('HGET', key.timelines, plate) or '', {}
  for member in string.gmatch(text, eachMember) do
    members[#members + 1] = member
  end
  return members, sub(text, 1, 1) == '+'
end

local answer = {}
local function tell(member, kept)
  answer[#answer + 1] = member .. '\t' .. kept
end

local id, most, before = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if id ~= '' then
  local kept = call('HGET', key.events, id)
  if kept then -- of version 0.1.0 it has no plate: that event is not found
    local plate = plateOf(kept)
    local member = wholeMember(id, kept) or searchMember(id, kept, plate, newestOf(plate))
    if member then
      tell(member, kept)
    end
  end
  return table.concat(answer, '\r')
end

local newest, older = newestOf(noPlate)
local found = {}
for i = #newest, 1, -1 do
  if #found < most and (before == '' or precedes(newest[i], before)) then
    found[#found + 1] = newest[i]
  end
end
if older and #found < most then
  for _, member in ipairs(newestBefore(key.older .. noPlate, before, most - #found, '-inf')) do
    found[#found + 1] = member
  end
end
if #found > 0 then
  local ids = {}
  for i, member in ipairs(found) do
    ids[i] = idOf(member)
  end
  for i, kept in ipairs(call('HMGET', key.events, unpack(ids))) do
    if kept then
      tell(found[i], kept)
    end
  end
end
return table.concat(answer, '\r')
