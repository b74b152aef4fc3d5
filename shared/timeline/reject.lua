-- Keeps that an entry and an exit are not of one vehicle, or withdraws that. A decision that
-- gives the exit the entry otherwise than the pairing rule is withdrawn.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  oldest retained instant, as in a member
-- ARGV[2]  oldest retained instant in milliseconds since 1970
-- ARGV[3]  when what is written expires, in milliseconds since 1970
-- ARGV[4]  how many fields key.rejections has at most
-- ARGV[5]  id of the entry
-- ARGV[6]  id of the exit
-- ARGV[7]  1 of a rejection, 0 of the withdrawal of one
-- ARGV[8]  id of the decision
-- ARGV[9]  JSON of it
-- ARGV[10] now, in milliseconds since 1970
-- ARGV[11] of a rejection the versions of the entry and of the exit that it is about, 0 of an
--          event that is not known, with a space between them
--
-- Returns a letter, C(onflict) if the id is that of another decision, F(ull), V(ersion) if an
-- event has another one by now, K(ept) if it is so already, or N(ew). After those two, each
-- field after a tab: the withdrawn decision of the exit, and those that are withdrawn with it.

-- Upper bound on expired fields removed per call, to keep the script short. A call adds two.
local maxDropped = '100'

local oldest, oldestMillis, expiry, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local exitID, valid, id, json = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local pair = ARGV[5] .. '\n' .. exitID

local function answer(verdict)
  local text = call('HGET', key.decisions, exitID)
  local d = text and parseDecision(text)
  if not d or valid == '0' then
    return verdict
  end
  local withdrawn = d.state == 'w' and { d } or {}
  if d.state ~= 'w' and idOf(d.entry) == ARGV[5] and d.entry ~= d.exact then
    withdrawn = withdraw(exitID, d, oldest, expiry)
  end
  local texts = { verdict }
  for i, w in ipairs(withdrawn) do
    texts[i + 1] = string.gsub(formatDecision(w), '\n', '\t')
  end
  return table.concat(texts, '\t')
end

local function currentVersion(event)
  local kept = call('HGET', key.events, event)
  return integer(kept and versionOf(kept) or 0)
end

local known, kept = unpack(call('HMGET', key.rejections, '\n' .. id, pair))
local keptAt, isValid = match(kept or '', '^(%d+)\n(%d)')
if isValid and tonumber(keptAt) < tonumber(oldestMillis) then
  isValid = nil -- it expired
end
if known and known ~= valid .. pair then
  return 'C'
elseif known then -- made before; it may have been taken back since
  return isValid == valid and answer('K') or 'K'
elseif isValid == valid then
  return answer('K')
elseif valid == '1' and ARGV[11] ~= currentVersion(ARGV[5]) .. ' ' .. currentVersion(exitID) then
  return 'V'
end

-- What expired makes room.
dropRejections(call('ZRANGE', key.rejectedAt, '-inf', '(' .. oldestMillis, 'BYSCORE', 'LIMIT', '0', maxDropped))
kept = call('HGET', key.rejections, pair)
if call('HLEN', key.rejections) + 2 > most then
  return 'F'
end
local rejected, withdrawn = '', ''
if kept then
  rejected, withdrawn = match(kept, '^%d+\n%d\n([^\n]*)\n([^\n]*)$')
end
if valid == '1' then
  rejected, withdrawn = json, ''
else
  withdrawn = json
end
call('HSET', key.rejections, pair, ARGV[10] .. '\n' .. valid .. '\n' .. rejected .. '\n' .. withdrawn, '\n' .. id, valid .. pair)
for _, field in ipairs({ pair, '\n' .. id }) do
  call('ZADD', key.rejectedAt, ARGV[10], field)
  local entered, left = rejectedOf(pair, field)
  call('ZADD', key.rejectedOf, '0', entered, '0', left)
end
for _, name in ipairs({ key.rejections, key.rejectedAt, key.rejectedOf }) do
  call('PEXPIREAT', name, expiry)
end
return answer('N')
