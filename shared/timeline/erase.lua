-- Removes every trace of a plate at a site; record.lua says what the keys are.
--
-- KEYS[1]  "park:{<site>}:", the prefix of every key of the site
-- ARGV[1]  the normalised plate
--
-- Returns JSON: how many events and how many keys were removed. The id of an
-- event, the revision of a stay, each of the two places of a timeline and the place
-- among the vehicles inside count as keys.
--
-- An error in the middle of a script keeps what was done before it. So what can fail
-- comes first, and what names the rest goes last: a repeated erasure finds it.

local call, sub = redis.call, string.sub
local prefix, plate = KEYS[1], ARGV[1]
local ids, revisions, inside, timelines = prefix .. 'e', prefix .. 'r', prefix .. 'in', prefix .. 't'
local tail = prefix .. 'o:' .. plate

for _, write in ipairs({ { 'HDEL', ids, 'x' }, { 'HDEL', revisions, 'x' }, { 'ZREM', inside, plate }, { 'HDEL', timelines, plate }, { 'UNLINK', tail } }) do
  if not redis.acl_check_cmd(unpack(write)) then
    return redis.error_reply('NOPERM the user may not run ' .. write[1] .. ' on the keys of events')
  end
end
-- Of a wrong type, a key fails here.
call('HEXISTS', ids, 'x')
call('HEXISTS', revisions, 'x')
call('ZSCORE', inside, plate)
local members = call('ZRANGE', tail, 0, -1)
for member in string.gmatch(call('HGET', timelines, plate) or '', '[^+\n][^\n]*') do
  members[#members + 1] = member
end

local keys = 0
for _, member in ipairs(members) do
  local id = sub(member, 15)
  -- Not if it is the id of a later event by now: see record.lua.
  if sub(call('HGET', ids, id) or '', 1, 4) == sub(member, 1, 4) then
    keys = keys + call('HDEL', revisions, id) + call('HDEL', ids, id)
  end
end
keys = keys + call('ZREM', inside, plate) + call('UNLINK', tail) + call('HDEL', timelines, plate)
return '{"events":' .. #members .. ',"keys":' .. keys .. '}'
