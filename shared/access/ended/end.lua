-- Remembers until a time that something has ended.
--
-- KEYS[1]  string: there while it is remembered
-- ARGV[1]  milliseconds since 1970 until which it is
--
-- Returns 1 if it was not remembered before, else 0.

return call('SET', KEYS[1], '1', 'NX', 'PXAT', ARGV[1]) and 1 or 0
