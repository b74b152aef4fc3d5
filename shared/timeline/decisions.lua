-- What the scripts about decisions have in common: decide.lua, reject.lua and erase.lua.

-- Returns whether a member is in the timeline of a plate, and its neighbours there.
local function around(plate, member)
  local text, line = call('HGET', key.timelines, plate) or '', {}
  for other in string.gmatch(text, eachMember) do
    line[#line + 1] = other
  end
  local older = key.older .. plate
  if sub(text, 1, 1) == '+' then
    if precedes(member, line[1]) then
      local rank = call('ZRANK', older, member)
      if not rank then
        return false
      end
      local before = rank > 0 and call('ZRANGE', older, integer(rank - 1), integer(rank - 1))[1]
      return true, before, call('ZRANGE', older, integer(rank + 1), integer(rank + 1))[1] or line[1]
    end
    table.insert(line, 1, call('ZRANGE', older, '-1', '-1')[1])
  end
  for i, other in ipairs(line) do
    if other == member then
      return true, line[i - 1], line[i + 1]
    end
  end
  return false
end

local function isLone(member, plate)
  return call('ZSCORE', key.lone, loneOf(member, plate))
end

-- Returns what an exit means by the pairing rule: see meaning in record.lua. The repeats
-- are known by that they are not lone.
local function meaningOf(member, plate, before, oldest)
  if before and precedes(before, oldest) then
    before = nil
  end
  if kindOf(before) == entry then
    return before
  end
  return before and not isLone(member, plate) and 'r' or ''
end

-- Counts a change of a stay, and returns its revision.
local function revise(id, expiry)
  local revision = integer(1 + call('HINCRBY', key.revisions, id, '1'))
  call('PEXPIREAT', key.revisions, expiry)
  return revision
end

-- Makes of a decision its withdrawal. If the exit has an entry by the pairing rule that is
-- given to another one, that is withdrawn, too. Returns the withdrawals in this order.
local function withdraw(id, d, oldest, expiry)
  local withdrawn = {}
  while d do
    release(id, d)
    local _, before = around(d.exitPlate, d.exit)
    local meant = meaningOf(d.exit, d.exitPlate, before, oldest)
    local w = withdrawalOf(d, revise(id, expiry), meant)
    writeDecision(id, w, expiry)
    withdrawn[#withdrawn + 1] = w
    id, d = holderOf(meant)
  end
  return withdrawn
end

-- The members of key.rejectedOf of a field of key.rejections with a pair.
local function rejectedOf(pair, field)
  local entered, left = match(pair, '^([^\n]*)\n(.*)')
  return entered .. '\n' .. field, left .. '\n' .. field
end

-- Removes fields of key.rejections, at most maxUnpacked.
local function dropRejections(fields)
  if #fields == 0 then
    return
  end
  local members = {}
  for i, text in ipairs(call('HMGET', key.rejections, unpack(fields))) do
    local field = fields[i]
    if text then
      local pair = sub(field, 1, 1) == '\n' and sub(text, 2) or field
      members[#members + 1], members[#members + 2] = rejectedOf(pair, field)
    end
  end
  callAll('ZREM', key.rejectedOf, members)
  call('ZREM', key.rejectedAt, unpack(fields))
  call('HDEL', key.rejections, unpack(fields))
end
