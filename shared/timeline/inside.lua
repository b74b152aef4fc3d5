-- Lists the vehicles inside a site, the longest inside first, without those that have left by
-- a decision.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  from which score of key.inside on
-- ARGV[2]  up to which one
-- ARGV[3]  how many vehicles to skip
-- ARGV[4]  how many to return at most
--
-- Returns for each vehicle its plate and the milliseconds of its entry, all one a line.

local from, to, skip, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), 2 * tonumber(ARGV[4])
if call('EXISTS', key.gone) == 0 then
  return table.concat(call('ZRANGE', key.inside, from, to, 'BYSCORE', 'LIMIT', ARGV[3], ARGV[4], 'WITHSCORES'), '\n')
end
local found, offset, page = {}, 0, 1000
repeat
  local some = call('ZRANGE', key.inside, from, to, 'BYSCORE', 'LIMIT', integer(offset), integer(page), 'WITHSCORES')
  local plates = {}
  for i = 1, #some, 2 do
    plates[#plates + 1] = some[i]
  end
  local gone = #plates > 0 and call('ZMSCORE', key.gone, unpack(plates)) or {}
  for i, plate in ipairs(plates) do
    if gone[i] then
    elseif skip > 0 then
      skip = skip - 1
    elseif #found < most then
      found[#found + 1], found[#found + 2] = plate, some[2 * i]
    end
  end
  offset = offset + page
until #found >= most or #plates < page
return table.concat(found, '\n')
