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

-- Removes the rejections of which drop reports so, given the pair and what is kept.
local function dropRejections(drop)
  local all, kept, dropped = call('HGETALL', key.rejections), {}, {}
  for i = 1, #all, 2 do
    if sub(all[i], 1, 1) ~= '\n' then
      kept[all[i]] = not drop(all[i], all[i + 1])
    end
  end
  for i = 1, #all, 2 do -- those of the ids, too
    local pair = sub(all[i], 1, 1) == '\n' and sub(all[i + 1], 2) or all[i]
    if not kept[pair] then
      dropped[#dropped + 1] = all[i]
    end
  end
  callAll('HDEL', key.rejections, dropped)
end
