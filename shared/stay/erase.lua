-- Removes the stays of a plate at a site; put.lua says what the keys are.
--
-- KEYS[1]  "stay:{<site>}:", the prefix of every key of the site
-- ARGV[1]  the normalised plate
--
-- Returns how many stays were removed. The counts by day, which tell nothing of
-- a vehicle, stay.
--
-- An error in the middle of a script keeps what was done before it. So what can fail
-- comes first, and what names the rest goes last: a repeated erasure finds it.

local call, sub = redis.call, string.sub
local prefix, plate = KEYS[1], ARGV[1]
local stays, plates, completed, unmatched = prefix .. 's', prefix .. 'p', prefix .. 'x:c', prefix .. 'x:u'

for _, write in ipairs({ { 'HDEL', stays, 'x' }, { 'ZREM', plates, 'x' }, { 'ZREM', completed, 'x' }, { 'ZREM', unmatched, 'x' } }) do
  if not redis.acl_check_cmd(unpack(write)) then
    return redis.error_reply('NOPERM the user may not run ' .. write[1] .. ' on the keys of stays')
  end
end
-- Of a wrong type, a key fails here.
call('HEXISTS', stays, 'x')
call('ZSCORE', completed, 'x')
call('ZSCORE', unmatched, 'x')
local places = call('ZRANGEBYLEX', plates, '[' .. plate .. '\n', '(' .. plate .. '\v')

local removed = 0
for _, place in ipairs(places) do
  local position = sub(place, #plate + 2)
  removed = removed + call('HDEL', stays, sub(position, 17))
  call('ZREM', completed, position)
  call('ZREM', unmatched, position)
  call('ZREM', plates, place)
end
return removed
