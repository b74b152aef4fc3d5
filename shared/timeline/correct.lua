-- Sets the occupancy of a site to a number that was counted.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  counted number
-- ARGV[2]  when, in milliseconds since 1970
-- ARGV[3]  reason
-- ARGV[4]  oldest retained instant in milliseconds since 1970
-- ARGV[5]  how many counts by hand to keep
-- ARGV[6]  when the site's keys expire, in milliseconds since 1970
--
-- Returns the occupancy shown until then.

local counted, since, entries, exits = unpack(call('HMGET', key.totals, 'counted', 'since', 'no_plate_entries', 'no_plate_exits'))
local was = call('ZCOUNT', key.inside, ARGV[4], '+inf') - call('ZCOUNT', key.gone, ARGV[4], '+inf') + (entries or 0) - (exits or 0)
if counted then
  was = counted + (since or 0)
end
call('HSET', key.totals, 'counted', ARGV[1], 'counted_at', ARGV[2], 'since', '0')
call('LPUSH', key.corrections, ARGV[2] .. '\n' .. ARGV[1] .. '\n' .. was .. '\n' .. ARGV[3])
call('LTRIM', key.corrections, 0, tonumber(ARGV[5]) - 1)
call('PEXPIREAT', key.totals, ARGV[6])
call('PEXPIREAT', key.corrections, ARGV[6])
return was
