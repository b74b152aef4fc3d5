-- Keeps names in a sorted set, each until a time.
--
-- KEYS[1]  zset: name -> milliseconds since 1970 until which it is kept
-- ARGV[1]  milliseconds since 1970 until which the names of this call are kept
-- ARGV[2]  how many names there may be; a new one beyond them is refused. -1: no bound
-- then the names, each once
--
-- Returns the names that were refused, one a line.

local names, expiry, most = KEYS[1], ARGV[1], tonumber(ARGV[2])

-- Keys expire by the clock of Redis, so names do, too.
call('ZREMRANGEBYSCORE', names, '-inf', call('TIME')[1] .. '000')

local free = most < 0 and #ARGV or most - call('ZCARD', names)
local kept, refused = {}, {} -- kept: scores, each followed by its name
for i = 3, #ARGV do
  local name = ARGV[i]
  local known = call('ZSCORE', names, name)
  if known or free > 0 then
    free = free - (known and 0 or 1)
    kept[#kept + 1] = expiry
    kept[#kept + 1] = name
  else
    refused[#refused + 1] = name
  end
end
if #kept > 0 then
  call('ZADD', names, 'GT', unpack(kept))
end
return table.concat(refused, '\n')
