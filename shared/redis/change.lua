-- Changes the documents of a set, all or none.
--
-- KEYS[1]  prefix of the keys:
--            s  hash: name -> its document, JSON in one line
--            v  string: the version of them all. It grows with each change; it is a time
--               in microseconds, and versions differ also after a loss of the keys
-- ARGV[1]  the version that the change was made from
-- ARGV[2]  what the documents are, for an error
-- then for each changed document its name and itself, empty if it is removed
--
-- Returns the new version; nothing if the version is another one, and changes nothing then.

local documents, key = KEYS[1] .. 's', KEYS[1] .. 'v'
local refused = refusal({ { 'HSET', documents, 'x', 'x' }, { 'HDEL', documents, 'x' }, { 'SET', key, 'x' } }, ARGV[2])
if refused then
  return refused
end
call('HEXISTS', documents, 'x')
local version = call('GET', key) or '0'
if version ~= ARGV[1] then
  return ''
end
local seconds, micros = unpack(call('TIME'))
local new = integer(math.max(tonumber(version) + 1, tonumber(seconds) * 1000000 + tonumber(micros)))
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    call('HDEL', documents, ARGV[i])
  else
    call('HSET', documents, ARGV[i], ARGV[i + 1])
  end
end
call('SET', key, new)
return new
