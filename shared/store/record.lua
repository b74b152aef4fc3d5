-- Takes events of one site into their plates' timelines and keeps the site's
-- state. Every key of a site has the hash tag {site}, so all keys that this
-- script builds are in the slot of KEYS[1].
--
-- KEYS[1]  "park:{<site>}:", the prefix of every key of the site
-- ARGV[1]  retention in milliseconds
-- ARGV[2]  oldest retained instant, as in a member
-- ARGV[3]  oldest retained instant in milliseconds since 1970
-- then four for each event:
--   member  16 hex digits of the nanoseconds since 1970, '0' entry or '1' exit,
--           then the event id: their byte order is the order of the timeline
--   millis  of the observation, since 1970
--   plate   normalised
--   extra   what else is kept of the event: nothing, or a line feed and text
--
-- Keys after the prefix:
--   e:<hash>  hash    event id -> "<slot><extra>": knows a duplicate from a conflict.
--                     An id is in the hash that the first three hex digits of its
--                     SHA-1 name. With fewer than some 500 ids Redis packs a hash,
--                     which takes a quarter of the memory of a key for each id
--   t:<plate> zset    the timeline: members as above, scored by their milliseconds,
--                     which gives the order of the members and is quicker to compare
--   r:<plate> hash    exit id -> how often its stay changed after it was made
--   in        zset    plates inside -> milliseconds of their entry
--   n         hash    totals: entries, exits, completed, unmatched, missed; and
--                     since a count by hand: counted_at (milliseconds) and since,
--                     the entries less the exits that were observed later
--   d:<day>   hash    day since 1970: "entries", "exits" and, per minute of the
--                     day, "e<minute>" and "x<minute>"
--
-- Returns one string with a line for each event: a letter, N(ew), D(uplicate)
-- or C(onflict), and for each stay it has a say in three fields, each after a
-- tab: member of the exit, member of the entry or nothing, revision.
--
-- Half of the time goes into calling Redis, so that what can be written once a
-- script is, and numbers that are arguments are strings: Redis formats a Lua
-- number with printf.

local call, sub, floor, sha1 = redis.call, string.sub, math.floor, redis.sha1hex
local prefix = KEYS[1]
local retention = tonumber(ARGV[1])
local oldest = ARGV[2]
local countedAt = tonumber(call('HGET', prefix .. 'n', 'counted_at') or math.huge)
local eventPrefix, timelinePrefix, revisionPrefix = prefix .. 'e:', prefix .. 't:', prefix .. 'r:'

-- Keys expire by slots of 2^44 nanoseconds (4.9 hours), which the first five hex
-- digits of a time name: most events of a stay share a slot, and then the
-- timeline's expiry is right already.
local oldestSlot = sub(oldest, 1, 5)
local expiries = {}
local function expiry(member)
  local slot = sub(member, 1, 5)
  local at = expiries[slot]
  if not at then
    at = string.format('%.0f', (tonumber(slot, 16) + 1) * 17592186.044416 + retention)
    expiries[slot] = at
  end
  return at
end
-- What stands for all plates of a site outlives every event in it, and goes when
-- the site falls silent.
local silence = string.format('%.0f', tonumber(ARGV[3]) + 2 * retention + 86400000)

local totals = { entries = 0, exits = 0, completed = 0, unmatched = 0, missed = 0 }
local entriesAt, exitsAt = {}, {} -- by minute since 1970
local inside = {}                 -- plate -> millis of its entry, or false
local since = 0                   -- entries less exits after the count by hand
local out = {}

local function kind(member)
  return member and sub(member, 17, 17)
end

local function bucket(hash)
  return eventPrefix .. sub(hash, 1, 3)
end

-- Takes an id in and says whether it was unknown, or known so long ago that it
-- is forgotten.
local function take(id, slot, extra)
  local ids = bucket(sha1(id))
  if call('HSETNX', ids, id, slot .. extra) == 0 then
    if sub(call('HGET', ids, id), 1, 5) >= oldestSlot then
      return false
    end
    call('HSET', ids, id, slot .. extra)
  end
  call('PEXPIREAT', ids, silence)
  return true
end

-- Forgets ids whose events expired. Four are looked at for each event that comes,
-- or 32, in buckets that the hash of a member chooses: where there are many ids
-- that is part of one bucket, where there are few it is up to 13 of them, so that
-- a quiet site forgets as soon as a busy one.
local function sweep(member)
  local hash, left = sha1(member), math.max(32, #ARGV - 3)
  for i = 1, 37, 3 do
    local ids = bucket(sub(hash, i))
    local known = call('HRANDFIELD', ids, left, 'WITHVALUES')
    for k = 1, #known, 2 do
      if sub(known[k + 1], 1, 5) < oldestSlot then
        call('HDEL', ids, known[k])
      end
    end
    left = left - #known / 2
    if left <= 0 then
      return
    end
  end
end

-- An event that is older than the retention is no neighbour, whether or not it is
-- trimmed already: what an event means does not depend on that.
local function retained(member)
  return member and sub(member, 1, 16) >= oldest and member
end

-- Whether a member is in a timeline, and the members next to it. By rank: that is
-- one way down the skip list for both of them, and no comparing of members.
local function neighbours(timeline, member)
  local rank = call('ZRANK', timeline, member)
  if not rank then
    return false
  elseif rank == 0 then
    return true, nil, call('ZRANGE', timeline, '1', '1')[1]
  end
  local near = call('ZRANGE', timeline, rank - 1, rank + 1)
  return true, retained(near[1]), near[3]
end

-- Forgets the events of a timeline that are older than the retention, with every
-- key that names their plate: nobody would find those later.
local function trim(timeline, plate)
  local old = call('ZRANGE', timeline, '-inf', '(' .. ARGV[3], 'BYSCORE', 'LIMIT', '0', '1000')
  for _, member in ipairs(old) do
    local id = sub(member, 18)
    local ids = bucket(sha1(id))
    -- Not if it is the id of a later event by now.
    if sub(call('HGET', ids, id) or member, 1, 5) == sub(member, 1, 5) then
      call('HDEL', ids, id)
      if kind(member) == '1' then
        call('HDEL', revisionPrefix .. plate, id)
      end
    end
    call('ZREM', timeline, member)
  end
end

for i = 4, #ARGV, 4 do
  local member, plate = ARGV[i], ARGV[i + 2]
  local timed = sub(member, 1, 17)
  local exit = kind(member) == '1'
  local timeline = timelinePrefix .. plate
  local verdict, known, before, after
  local revision = 1

  if take(sub(member, 18), sub(member, 1, 5), ARGV[i + 3]) then
    verdict = 'N'
    local last = call('ZREVRANGE', timeline, '0', '0')[1]
    call('ZADD', timeline, ARGV[i + 1], member)
    -- Lua compares strings by the locale, which is safe for hex digits only:
    -- events that differ in nothing but their id take the second way.
    if not last or sub(last, 1, 17) < timed then
      before = retained(last)
      local sameSlot = last and sub(last, 1, 5) == sub(member, 1, 5)
      if not sameSlot then
        call('PEXPIREAT', timeline, expiry(member))
      end
      -- The first event of a call also where the slot is the same: a plate may have
      -- more to forget than is forgotten at once.
      if last and (i == 4 or not sameSlot) then
        trim(timeline, plate)
      end
    else
      known, before, after = neighbours(timeline, member)
    end

    local afterEntry, beforeExit = kind(before) == '0', kind(after) == '1'
    local minute = floor(ARGV[i + 1] / 60000)
    if tonumber(ARGV[i + 1]) > countedAt then
      since = since + (exit and -1 or 1)
    end
    if exit then
      totals.exits = totals.exits + 1
      exitsAt[minute] = (exitsAt[minute] or 0) + 1
      if not afterEntry then
        totals.unmatched = totals.unmatched + 1
      else
        totals.completed = totals.completed + 1
        if beforeExit then
          totals.completed = totals.completed - 1
          totals.unmatched = totals.unmatched + 1
        elseif after then
          totals.missed = totals.missed - 1
        else
          inside[plate] = false
        end
      end
    else
      totals.entries = totals.entries + 1
      entriesAt[minute] = (entriesAt[minute] or 0) + 1
      if beforeExit then
        if afterEntry then
          totals.missed = totals.missed + 1
        else
          totals.unmatched = totals.unmatched - 1
          totals.completed = totals.completed + 1
        end
      else
        if after or afterEntry then
          totals.missed = totals.missed + 1
        end
        if not after then
          inside[plate] = ARGV[i + 1]
        end
      end
    end
    -- The next exit's stay changes when its entry does.
    if beforeExit and (not exit or afterEntry) then
      call('HINCRBY', revisionPrefix .. plate, sub(after, 18), '1')
      call('PEXPIREAT', revisionPrefix .. plate, call('PEXPIRETIME', timeline))
    end
  else
    known, before, after = neighbours(timeline, member)
    if known then
      verdict = 'D'
      if exit then
        revision = 1 + (call('HGET', revisionPrefix .. plate, sub(member, 18)) or 0)
      end
    else
      verdict = 'C'
    end
  end

  local line = verdict
  if verdict ~= 'C' then
    if exit then
      line = line .. '\t' .. member .. '\t' .. (kind(before) == '0' and before or '') .. '\t' .. revision
    end
    if kind(after) == '1' then
      revision = 1 + (call('HGET', revisionPrefix .. plate, sub(after, 18)) or 0)
      line = line .. '\t' .. after .. '\t' .. (exit and '' or member) .. '\t' .. revision
    end
  end
  out[#out + 1] = line
end

local entered, left = {}, {}
for plate, millis in pairs(inside) do
  if millis then
    entered[#entered + 1] = millis
    entered[#entered + 1] = plate
  else
    left[#left + 1] = plate
  end
end
if #entered > 0 then
  call('ZADD', prefix .. 'in', unpack(entered))
end
if #left > 0 then
  call('ZREM', prefix .. 'in', unpack(left))
end
call('ZREMRANGEBYSCORE', prefix .. 'in', '-inf', '(' .. ARGV[3])
call('PEXPIREAT', prefix .. 'in', silence)

totals.since = since
for field, n in pairs(totals) do
  if n ~= 0 then
    call('HINCRBY', prefix .. 'n', field, n)
  end
end

sweep(ARGV[4])

local days = {}
local function count(minutes, total, each)
  for minute, n in pairs(minutes) do
    local day = floor(minute / 1440)
    days[day] = days[day] or {}
    days[day][total] = (days[day][total] or 0) + n
    call('HINCRBY', prefix .. 'd:' .. day, each .. minute % 1440, n)
  end
end
count(entriesAt, 'entries', 'e')
count(exitsAt, 'exits', 'x')
for day, fields in pairs(days) do
  local key = prefix .. 'd:' .. day
  for field, n in pairs(fields) do
    call('HINCRBY', key, field, n)
  end
  call('PEXPIREAT', key, string.format('%.0f', (day + 1) * 86400000 + retention))
end

return table.concat(out, '\n')
