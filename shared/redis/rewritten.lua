-- Forgets the erasures that were pending when the append-only files began to be rewritten,
-- unless there are more by now.
--
-- KEYS[1]  hash of erased.lua
-- ARGV[1]  how many were pending
--
-- Returns whether they are forgotten, 1 or 0.

if call('HGET', KEYS[1], 'pending') == ARGV[1] then
  return call('HDEL', KEYS[1], 'pending')
end
return 0
