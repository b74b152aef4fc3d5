-- Reads the newest lone exits.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  the member before which to begin
-- ARGV[2]  how many to return at most
-- ARGV[3]  the oldest millisecond
--
-- Returns members of key.lone, the newest first, with a carriage return between them.

return table.concat(newestBefore(key.lone, ARGV[1], tonumber(ARGV[2]), ARGV[3]), '\r')
