-- Removes every trace of a plate at a site; record.lua says what the keys are.
--
-- KEYS[1]  "park:{<site>}:", the prefix of every key of the site
-- ARGV[1]  the normalised plate
--
-- Returns JSON: how many events and how many keys were removed. The id of an
-- event, the revision of a stay, each of the two places of a timeline and the place
-- among the vehicles inside count as keys.

local prefix, plate = KEYS[1], ARGV[1]
local timelines = prefix .. 't'
local tail = prefix .. 'o:' .. plate
local members = redis.call('ZRANGE', tail, 0, -1)
for member in string.gmatch(redis.call('HGET', timelines, plate) or '', '[^+\n][^\n]*') do
  members[#members + 1] = member
end
local keys = 0
for _, member in ipairs(members) do
  local id = string.sub(member, 15)
  -- Not if it is the id of a later event by now: see record.lua.
  if string.sub(redis.call('HGET', prefix .. 'e', id) or '', 1, 4) == string.sub(member, 1, 4) then
    keys = keys + redis.call('HDEL', prefix .. 'e', id) + redis.call('HDEL', prefix .. 'r', id)
  end
end
keys = keys + redis.call('HDEL', timelines, plate) + redis.call('UNLINK', tail)
keys = keys + redis.call('ZREM', prefix .. 'in', plate)
return '{"events":' .. #members .. ',"keys":' .. keys .. '}'
