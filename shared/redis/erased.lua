-- Remembers that something was erased, until rewritten.lua is told that the append-only
-- files have it no more.
--
-- KEYS[1]  hash: pending, how many erasures are in the files, and rewritten, when a rewrite
--          was begun last, in seconds since 1970
-- ARGV[1]  1 if something was erased
-- ARGV[2]  for how many seconds the files are not rewritten again
--
-- Returns how many erasures are pending if the files are to be rewritten now, else 0.

local now = tonumber(call('TIME')[1])
if ARGV[1] == '1' then
  call('HINCRBY', KEYS[1], 'pending', '1')
end
local pending, rewritten = unpack(call('HMGET', KEYS[1], 'pending', 'rewritten'))
if not pending or now < (tonumber(rewritten) or 0) + tonumber(ARGV[2]) then
  return 0
end
call('HSET', KEYS[1], 'rewritten', now)
return tonumber(pending)
