-- Keeps names in a sorted set, each until a time.
--
-- KEYS[1]  sorted set: name -> milliseconds since 1970 until which it is kept
-- ARGV[1]  milliseconds since 1970 until which the names of this call are kept
-- ARGV[2]  how many names there may be; a new one beyond them is refused. -1: no
--          bound
-- then the names, each once
--
-- Returns the names that were refused, one a line.

local key, most = KEYS[1], tonumber(ARGV[2])
-- Keys expire by the clock of Redis, so names do, too.
redis.call('ZREMRANGEBYSCORE', key, '-inf', redis.call('TIME')[1] .. '000')
local free = most < 0 and #ARGV or most - redis.call('ZCARD', key)
local kept, refused = {}, {}
for i = 3, #ARGV do
  local name = ARGV[i]
  local known = redis.call('ZSCORE', key, name)
  if known or free > 0 then
    free = free - (known and 0 or 1)
    kept[#kept + 1] = ARGV[1]
    kept[#kept + 1] = name
  else
    refused[#refused + 1] = name
  end
end
if #kept > 0 then
  redis.call('ZADD', key, 'GT', unpack(kept))
end
return table.concat(refused, '\n')
