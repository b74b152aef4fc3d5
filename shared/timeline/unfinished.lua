-- Removes marks of events that are corrected, unless they were made again since.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV     id of each event, each followed by the microseconds of its mark

for i = 1, #ARGV, 2 do
  if tonumber(call('ZSCORE', key.unfinished, ARGV[i]) or -1) == tonumber(ARGV[i + 1]) then
    call('ZREM', key.unfinished, ARGV[i])
  end
end
return ''
