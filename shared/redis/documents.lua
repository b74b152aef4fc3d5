-- Returns the documents of a set if they have changed.
--
-- KEYS[1]  prefix of the keys: change.lua says what they are
-- ARGV[1]  the version that the caller knows
--
-- Returns nothing if that is the version still, else the version and each document, one a
-- line.

local version = call('GET', KEYS[1] .. 'v') or '0'
if version == ARGV[1] then
  return ''
end
return version .. '\n' .. table.concat(call('HVALS', KEYS[1] .. 's'), '\n')
