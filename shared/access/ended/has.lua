-- Returns 1 if end.lua remembers that something has ended, else 0.
--
-- KEYS[1]  string of end.lua

return call('EXISTS', KEYS[1])
