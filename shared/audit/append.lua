-- Appends an entry to the stream of an action.
--
-- KEYS[1]  prefix of the audit's keys
-- ARGV[1]  action, the name of the stream behind the prefix
-- ARGV[2]  retention in milliseconds
-- ARGV[3]  how many entries a stream may have
-- then the fields of the entry, each with its value
--
-- Returns the entry's id in its stream and, after a blank, how many younger entries than
-- the retention were removed for it.

local stream = KEYS[1] .. ARGV[1]
local now = tonumber(call('TIME')[1]) * 1000
local oldest = integer(math.max(0, now - tonumber(ARGV[2])))

local refused = refusal({
  { 'XADD', stream, 'x' },
  { 'XTRIM', stream, 'x' },
  { 'PEXPIREAT', stream, 'x' },
}, 'the audit')
if refused then
  return refused
end

local id = call('XADD', stream, '*', unpack(ARGV, 4))
call('XTRIM', stream, 'MINID', '=', oldest)
local cut = call('XTRIM', stream, 'MAXLEN', '=', ARGV[3])
call('PEXPIREAT', stream, integer(now + tonumber(ARGV[2])))
return id .. ' ' .. cut
