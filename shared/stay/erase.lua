-- Removes the stays of a plate at a site, also those of which only one read has it.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  the normalised plate
--
-- Returns how many stays were removed. The counts by day, which tell nothing of a vehicle,
-- stay.
--
-- An error in the middle keeps what was done before it. So what can fail comes first, and
-- what names the rest goes last: a repeated erasure finds it.

local plate = ARGV[1]
-- May it write, and is each key of its type?
local writes = { { 'HDEL', key.stays, 'x' }, { 'ZREM', key.plates, 'x' } }
for _, status in ipairs(statuses) do
  writes[#writes + 1] = { 'ZREM', key.status .. status, 'x' }
end
for _, mark in ipairs(marks) do
  writes[#writes + 1] = { 'ZREM', key.marked .. mark, 'x' }
end
local refused = refusal(writes, 'stays')
if refused then
  return refused
end
call('HEXISTS', key.stays, 'x')
for _, status in ipairs(statuses) do
  call('ZSCORE', key.status .. status, 'x')
end
for _, mark in ipairs(marks) do
  call('ZSCORE', key.marked .. mark, 'x')
end

-- Read.
local places = call('ZRANGEBYLEX', key.plates, '[' .. plate .. '\n', '(' .. plate .. '\v')

-- Write.
local removed = 0
for _, place in ipairs(places) do
  local position = sub(place, #plate + 2)
  local value = call('HGET', key.stays, idOf(position))
  local itsMarks, otherPlates = marksOf(value or '')
  if itsMarks then
    for one in gmatch(match(value, '\n([^\n]*)\n') .. ' ' .. otherPlates, '%S+') do
      if one ~= plate then
        call('ZREM', key.plates, placeOf(one, position))
      end
    end
    for one in gmatch(itsMarks, '%S+') do
      call('ZREM', key.marked .. one, position)
    end
  end
  removed = removed + call('HDEL', key.stays, idOf(position))
  for _, status in ipairs(statuses) do
    call('ZREM', key.status .. status, position)
  end
  call('ZREM', key.plates, place)
end
return removed
