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
-- ARGV[11] what the decision is about: of a rejection the versions of the entry and of the
--          exit, 0 of an event that is not known, with a space between them; of a withdrawal
--          the id of the rejection, or nothing
--
-- Returns a letter, C(onflict) if the id is that of another decision, F(ull), V(ersion) if
-- what the decision is about is another by now, K(ept) if it is so already or was made before,
-- or N(ew). After those two, each field after a tab: the withdrawn decision of the exit, and
-- those that are withdrawn with it.

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

local known = call('HGET', key.rejections, '\n' .. id)
local state, rejected, withdrawn = rejectionOf(pair, oldest)
if known and known ~= valid .. pair then
  return 'C'
elseif known then -- made before; it may have been taken back since
  return state == valid and answer('K') or 'K'
end
local verdict = state == valid and 'K' or 'N'
if verdict == 'N' then
  local of
  if valid == '1' then
    of = currentVersion(ARGV[5]) .. ' ' .. currentVersion(exitID)
  else
    of = rejected and rejected ~= '' and cjson.decode(rejected).id or ''
  end
  if of ~= ARGV[11] then
    return 'V'
  end
end

-- What expired makes room.
dropRejections(call('ZRANGE', key.rejectedAt, '-inf', '(' .. oldestMillis, 'BYSCORE', 'LIMIT', '0', maxDropped))
if call('HLEN', key.rejections) + 2 > most then
  return 'F'
end
local fields = { '\n' .. id } -- of a decision that is made already, too: it may come again
call('HSET', key.rejections, fields[1], valid .. pair)
if verdict == 'N' then
  if valid == '1' then
    rejected, withdrawn = json, ''
  else
    withdrawn = json
  end
  fields[2] = pair
  call('HSET', key.rejections, pair, ARGV[10] .. '\n' .. valid .. '\n' .. (rejected or '') .. '\n' .. withdrawn)
end
for _, field in ipairs(fields) do
  call('ZADD', key.rejectedAt, ARGV[10], field)
  local entered, left = rejectedOf(pair, field)
  call('ZADD', key.rejectedOf, '0', entered, '0', left)
end
for _, name in ipairs({ key.rejections, key.rejectedAt, key.rejectedOf }) do
  call('PEXPIREAT', name, expiry)
end
return answer(verdict)
