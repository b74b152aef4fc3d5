-- Removes every trace of a plate at a site.
--
-- KEYS[1]  "park:{<site>}:", the prefix of every key of the site
-- ARGV[1]  the normalised plate
--
-- Returns JSON: how many events and how many keys were removed. A place among
-- the vehicles inside counts as a key.

local prefix, plate = KEYS[1], ARGV[1]
local timeline = prefix .. 't:' .. plate
local events, keys = 0, 0
for _, member in ipairs(redis.call('ZRANGE', timeline, 0, -1)) do
  events = events + 1
  keys = keys + redis.call('UNLINK', prefix .. 'e:' .. string.sub(member, 18))
end
keys = keys + redis.call('UNLINK', timeline, prefix .. 'r:' .. plate)
keys = keys + redis.call('ZREM', prefix .. 'in', plate)
return '{"events":' .. events .. ',"keys":' .. keys .. '}'
