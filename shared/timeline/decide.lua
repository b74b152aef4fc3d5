-- Decides of exits otherwise than the pairing rule does, or withdraws that.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  oldest retained instant, as in a member
-- ARGV[2]  when what is written expires, in milliseconds since 1970
-- then eight for each change; see parseDecision:
--   id          of the exit
--   was         revision of the decision that it replaces, or 0
--   exit, exitPlate, entry, entryPlate, exact, stay; of a withdrawal entry is nothing
--
-- All changes are seen as one: an entry may go from one exit to another, and an exit that
-- is exactly paired may leave its entry to another one. A change that is refused is none,
-- and so are those that depend on it: a withdrawal, too, if the exit would have an entry
-- that another one is given.
--
-- Returns a line for each change: what is kept of it, its fields with tabs between them, or
-- a - and the reason why it is refused.

local oldest, expiry = ARGV[1], ARGV[2]
local fields = { 'id', 'was', 'exit', 'exitPlate', 'entry', 'entryPlate', 'exact', 'stay' }

local changes, wanted = {}, {} -- wanted: id -> the change, unless it is refused
for n = 1, (#ARGV - 2) / #fields do
  local change = {}
  for i, field in ipairs(fields) do
    change[field] = ARGV[2 + (n - 1) * #fields + i]
  end
  changes[n] = change
end

local decisions = {} -- id of an exit -> what is decided of it now, or false
local function decisionOf(id)
  if decisions[id] == nil then
    local text = call('HGET', key.decisions, id)
    decisions[id] = text and parseDecision(text)
  end
  return decisions[id]
end

-- The entry that an exit is given once the changes are made, or nil.
local function givenTo(id)
  local d = wanted[id] or decisionOf(id)
  return d and d.state ~= 'w' and d.entry ~= '' and d.entry or nil
end

local function refuse(change, reason)
  change.refused = reason
  wanted[change.id] = nil
end

------------------------------------------------------------------------------------------
-- What does not depend on other changes
------------------------------------------------------------------------------------------

local function check(change)
  local d = decisionOf(change.id)
  local isNew = change.entry ~= ''
  if d and (isNew and d.state ~= 'w' and d.entry == change.entry and d.entryPlate == change.entryPlate and d.exact == change.exact and d.stay == change.stay
      or not isNew and d.state == 'w') then
    change.known = d
    return
  end
  if change.was ~= (d and d.revision or '0') then
    return 'another decision was made meanwhile'
  end
  if not isNew then
    if not d then
      return 'there is no decision'
    end
    local _, before = around(d.exitPlate, d.exit)
    change.takes = meaningOf(d.exit, d.exitPlate, before, oldest)
    return
  end
  change.takes = change.entry
  local found, before = around(change.exitPlate, change.exit)
  if not found or precedes(change.exit, oldest) then
    return 'the exit is not known, or not so any more'
  end
  local exact = meaningOf(change.exit, change.exitPlate, before, oldest)
  if exact ~= change.exact or exact == '' and not isLone(change.exit, change.exitPlate) then
    return 'the exit is paired otherwise by now'
  end
  if change.entry == exact then
    change.exactly = true
    return
  end
  local found, _, after = around(change.entryPlate, change.entry)
  if not found or precedes(change.entry, oldest) then
    return 'the entry is not known, or not so any more'
  end
  change.inside = not after
  if kindOf(after) == exit then
    change.after = idOf(after)
  elseif after and not isLone(change.entry, change.entryPlate) then
    return 'the entry is repeated by now'
  end
  if rejectionOf(idOf(change.entry) .. '\n' .. change.id, oldest) == '1' then
    return 'the pair was rejected'
  end
end

for _, change in ipairs(changes) do
  if wanted[change.id] then
    change.refused = 'another change of this call is about the exit'
  else
    wanted[change.id] = change
    local reason = check(change)
    if reason then
      refuse(change, reason)
    end
  end
end

------------------------------------------------------------------------------------------
-- What does
------------------------------------------------------------------------------------------

local function depends(change, takers)
  if change.after then -- that exit has the entry exactly, unless it is given another one
    local given = givenTo(change.after)
    if not given or given == change.entry then
      return 'the entry is exactly paired by now'
    end
  end
  if takers[change.takes] then
    return 'another change of this call takes the entry'
  end
  local holder = call('HGET', key.given, idOf(change.takes))
  if holder and holder ~= change.id and givenTo(holder) == change.takes then
    return 'the entry was given to another exit meanwhile'
  end
end

repeat
  local refused, takers = false, {}
  for _, change in ipairs(changes) do
    if wanted[change.id] == change and change.takes and kindOf(change.takes) == entry and not change.known then
      local reason = depends(change, takers)
      if reason then
        refuse(change, reason)
        refused = true
      else
        takers[change.takes] = true
      end
    end
  end
until not refused

------------------------------------------------------------------------------------------
-- Write: what is released goes first, it may be given again
------------------------------------------------------------------------------------------

for _, change in ipairs(changes) do
  local d = decisionOf(change.id)
  if d and not change.refused and not change.known then
    release(change.id, d)
  end
end
local answer, latest = {}, call('HGET', key.totals, 'decided')
for n, change in ipairs(changes) do
  local d = change.known
  if not d and not change.refused then
    local id = change.id
    if change.entry == '' then
      d = withdraw(id, decisionOf(id), oldest, expiry)[1]
    else
      d, change.revision, change.state = change, revise(id, expiry), 'd'
      writeDecision(id, d, expiry)
      call('HSET', key.given, idOf(d.entry), id)
      if not latest or precedes(latest, d.entry) then
        latest = sub(d.entry, 1, 13)
        call('HSET', key.totals, 'decided', latest)
      end
      if change.inside then
        call('ZADD', key.gone, millisOf(d.entry), d.entryPlate)
      end
    end
    call('PEXPIREAT', key.given, expiry)
    call('PEXPIREAT', key.gone, expiry)
  end
  answer[n] = d and string.gsub(formatDecision(d), '\n', '\t') or '-' .. change.refused
end
return table.concat(answer, '\n')
