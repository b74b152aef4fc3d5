-- Removes every trace of a plate at a site.
--
-- KEYS[1]  "park:{<site>}:", the prefix of every key of the site
-- ARGV[1]  the normalised plate
--
-- Returns JSON: how many events and how many keys were removed. The id of an
-- event and a place among the vehicles inside count as keys.

local prefix, plate = KEYS[1], ARGV[1]
local timeline = prefix .. 't:' .. plate
local events, keys = 0, 0
for _, member in ipairs(redis.call('ZRANGE', timeline, 0, -1)) do
  events = events + 1
  local id = string.sub(member, 18)
  local ids = prefix .. 'e:' .. string.sub(redis.sha1hex(id), 1, 3)
  -- Not if it is the id of a later event by now: see record.lua.
  if string.sub(redis.call('HGET', ids, id) or '', 1, 5) == string.sub(member, 1, 5) then
    keys = keys + redis.call('HDEL', ids, id)
  end
end
keys = keys + redis.call('UNLINK', timeline, prefix .. 'r:' .. plate)
keys = keys + redis.call('ZREM', prefix .. 'in', plate)
return '{"events":' .. events .. ',"keys":' .. keys .. '}'
