-- How a site is stored; every script of this package begins with it, after the prelude.
-- layout.go is the same for Go.
--
-- KEYS[1] of each script is the prefix of the site's keys, "park:{<site>}:". Its hash
-- tag puts all of them in the slot of KEYS[1].
--
-- A member is an event in its timeline: 13 digits of base 32 of the nanoseconds since
-- 1970, '0' entry or '1' exit, then the event's id. The order of members is that of the
-- timeline. A slot is the 2^45 nanoseconds (9.8 hours) that the first four digits name.

local prefix = KEYS[1]
local key = {
  -- hash: id -> what is kept of the version that counts; see parseEvent. It tells a
  -- duplicate from a conflict, together with the timeline.
  events = prefix .. 'e',
  -- hash: plate -> the newest members of its timeline, one a line; after a '+' if there
  -- are older ones. noPlate and void are plates here, too.
  timelines = prefix .. 't',
  -- hash: id of an exit -> how often its stay changed after it was made. If the id is
  -- used again that goes on: a revision never falls.
  revisions = prefix .. 'r',
  -- zset: plates inside -> milliseconds of their entry
  inside = prefix .. 'in',
  -- zset: plate, line feed and id of each event that has a former place in the timeline
  -- of the plate. An erasure finds those by it. All scores are 0.
  former = prefix .. 'f',
  -- hash: entries, exits, completed, unmatched, missed, repeated_entries, repeated_exits,
  -- no_plate_entries and no_plate_exits; of the last count by hand counted, counted_at
  -- (milliseconds) and since, the entries less the exits that were observed later,
  -- without repeats; decided: see given; lone_since: when the first lone read may have
  -- been kept (milliseconds); and swept: where the search for what expired goes on, through how
  -- many plates it goes, and when it was there (milliseconds)
  totals = prefix .. 'n',
  -- list: counts by hand, newest first: milliseconds, counted, shown until then, reason;
  -- one a line
  corrections = prefix .. 'c',
  -- zset: member, line feed and plate of each lone read that is not the entry of a vehicle
  -- inside: exits that are unmatched, and entries that another one follows and does not
  -- repeat. Scores are milliseconds, of entries less than 0: so entries are read alone, and
  -- what expired lies around 0.
  lone = prefix .. 'l',
  -- hash: id of an exit -> what was decided of it otherwise than the pairing rule does; see
  -- parseDecision.
  decisions = prefix .. 'm',
  -- zset: ids of the exits in key.decisions -> milliseconds of the exit, or notPosted while
  -- the decision is not: a tick reads both from its first instant on.
  decided = prefix .. 'md',
  -- hash: id of an entry -> id of the exit that a decision gives it to. If there was any
  -- decision key.totals has the field decided: the instant of the latest entry that was given
  -- ever, as in a member.
  given = prefix .. 'me',
  -- zset: plates of key.inside whose entry a decision gives to an exit: those vehicles have
  -- left. The scores are those there.
  gone = prefix .. 'g',
  -- hash: id of an entry, line feed and id of an exit -> the rejection of the pair: when it
  -- was kept (milliseconds), whether it is valid (1) or withdrawn (0), JSON of it and JSON of
  -- its withdrawal; one a line. It expires as an event of that time. And line feed and id of
  -- the decision of a person -> 1 or 0 and the pair.
  rejections = prefix .. 'x',
  -- zset: fields of key.rejections -> when they were kept (milliseconds)
  rejectedAt = prefix .. 'xt',
  -- zset: id of an event, line feed and field of each rejection that names it. An erasure
  -- finds those by it. All scores are 0.
  rejectedOf = prefix .. 'xe',
  -- zset: ids of the events that a person corrects, until the stays are posted that they
  -- affect -> microseconds, by which a mark is told from a later one
  unfinished = prefix .. 'p',
  -- zset: ids of events with a version that a person gave -> milliseconds of it
  corrected = prefix .. 'v',
  -- zset, with the plate behind the name: the older members of a timeline. Their score,
  -- the milliseconds, gives their order and is quicker to compare.
  older = prefix .. 'o:',
  -- hash, with the day since 1970 behind the name: "entries", "exits" and, for each minute
  -- of the day, "e<minute>" and "x<minute>"
  day = prefix .. 'd:',
}

-- The timelines of these plates have the events without a plate and the void ones. Events
-- expire there as elsewhere, and none is paired.
local noPlate, void = '-', '~'

local function isPaired(plate)
  return plate ~= noPlate and plate ~= void
end

-- The kind of a member, as a byte: no string has to be made of it. nil of no member.
local entry, exit = byte('0'), byte('1')
local function kindOf(member)
  return member and byte(member, 14)
end

local function idOf(member)
  return sub(member, 15)
end

-- The halves of an instant, each of which is exact as a number.
local half = 2 ^ 30
local function halves(member)
  return tonumber(sub(member, 1, 7), 32), tonumber(sub(member, 8, 13), 32)
end

-- The milliseconds of a member, as the argument beside one has them.
local function millisOf(member)
  local high, low = halves(member)
  return high * floor(half / 1000000) + floor((high * (half % 1000000) + low) / 1000000)
end

-- The slot of a member, or of what is kept of an event.
local function slotOf(text)
  return sub(text, 1, 4)
end

-- The members in a field of key.timelines.
local eachMember = '[^+\n][^\n]*'

-- The first line of what is kept of an event: its slot and its plate, and after a tab the
-- rest of the time and the kind. Without a plate there is no tab. Of most events with the
-- version 1 it is slot and plate alone: their member is found in the timeline, which is
-- short. If that is long, or there are more versions, nothing is searched.
local function headOf(member, plate)
  return slotOf(member) .. plate .. (isPaired(plate) and '\t' or '') .. sub(member, 5, 14)
end

-- The plate in the first line: noPlate, void, or '' of an event of version 0.1.0, which
-- kept none.
local function plateOf(kept)
  local plate = match(kept, '^....([%-~]?)')
  return plate ~= '' and plate or match(kept, '^....([^\t\n]*)')
end

-- What is kept of an event is text of up to seven lines. Empty ones at its end are left
-- out, so of most events there is only the first:
--   head     see headOf
--   version  nothing if it is 1
--   raw      plate, nothing if it is that in the head
--   gate
--   camera
--   places   where the event was in versions before, the newest last, with a tab between
--            them: the first 14 bytes of the member, and the plate
--   details  JSON of parking.Details, with the correction of the event
-- Version 0.1.0 kept slot, raw plate and gate.
local function parseEvent(kept)
  local lines = {}
  for line in string.gmatch(kept .. '\n', '([^\n]*)\n') do
    lines[#lines + 1] = line
  end
  if plateOf(kept) == '' then
    table.insert(lines, 2, '')
  end
  return {
    head = lines[1], version = lines[2] or '', raw = lines[3] or '', gate = lines[4] or '',
    camera = lines[5] or '', places = lines[6] or '', details = lines[7] or '',
  }
end

local function formatEvent(e)
  return (string.gsub(table.concat({ e.head, e.version, e.raw, e.gate, e.camera, e.places, e.details }, '\n'), '\n+$', ''))
end

-- The version of what is kept. Version 0.1.0 kept none: its second line is a plate.
local function versionOf(kept)
  return plateOf(kept) ~= '' and tonumber(match(kept, '^[^\n]*\n(%d+)')) or 1
end

-- Returns the places of an event: tables of member and plate.
local function parsePlaces(places, id)
  local list = {}
  for place in string.gmatch(places, '[^\t]+') do
    list[#list + 1] = { member = sub(place, 1, 14) .. id, plate = sub(place, 15) }
  end
  return list
end

local function formatPlaces(list)
  local texts = {}
  for i, place in ipairs(list) do
    texts[i] = sub(place.member, 1, 14) .. place.plate
  end
  return table.concat(texts, '\t')
end

-- The member of key.former of a place.
local function formerOf(plate, id)
  return plate .. '\n' .. id
end

-- Returns the member of an event if its first line has the whole of it.
local function wholeMember(id, kept)
  local rest = match(kept, '^....[^\t\n]*\t([^\n]*)') or match(kept, '^....[%-~]([^\n]*)')
  return rest and slotOf(kept) .. rest .. id
end

-- Upper bound on the older members among which that of an event is searched.
local maxSearched = '1000'

-- Returns the member of an event whose first line lacks a part of it, or nil if it is not
-- found. newest are the newest members of its plate, and older is whether there are others:
-- that is the case of data of version 0.1.0 only.
local function searchMember(id, kept, plate, newest, older)
  local slot = slotOf(kept)
  for _, member in ipairs(newest) do
    if slotOf(member) == slot and idOf(member) == id then
      return member
    end
  end
  if older then
    local n = tonumber(slot, 32)
    local from, to = floor(n * 2 ^ 45 / 1000000) - 1, floor((n + 1) * 2 ^ 45 / 1000000) + 1
    for _, member in ipairs(call('ZRANGE', key.older .. plate, integer(from), integer(to), 'BYSCORE', 'LIMIT', '0', maxSearched)) do
      if slotOf(member) == slot and idOf(member) == id then
        return member
      end
    end
  end
end

-- As many arguments of a command as a script may unpack at once.
local maxUnpacked = 4000

-- Calls a command with any number of arguments, some at a time. Returns the sum of the
-- answers.
local function callAll(command, name, args)
  local sum = 0
  for from = 1, #args, maxUnpacked do
    sum = sum + call(command, name, unpack(args, from, math.min(from + maxUnpacked - 1, #args)))
  end
  return sum
end

-- The member of key.lone of a read.
local function loneOf(member, plate)
  return member .. '\n' .. plate
end

-- A decision is text of eight lines:
--   revision    of the stay
--   state       p(osted), d(ecided and not posted yet) or w(ithdrawn and not posted yet)
--   exit        its member
--   exitPlate   that of its timeline
--   entry       member of the entry that it is given; if withdrawn what the exit means by
--               the pairing rule: see meaning in record.lua
--   entryPlate  that of its timeline, nothing if withdrawn
--   exact       member of the entry that it has by the pairing rule, or nothing
--   stay        JSON of what else the stay has: match, disputed, and the plate if it is not
--               that of the exit
local decisionLines = { 'revision', 'state', 'exit', 'exitPlate', 'entry', 'entryPlate', 'exact', 'stay' }

local function parseDecision(text)
  local d, i = {}, 0
  for line in string.gmatch(text .. '\n', '([^\n]*)\n') do
    i = i + 1
    d[decisionLines[i]] = line
  end
  return d
end

local function formatDecision(d)
  local lines = {}
  for i, name in ipairs(decisionLines) do
    lines[i] = d[name]
  end
  return table.concat(lines, '\n')
end

-- The score in key.decided of what is not posted: later than each exit.
local notPosted = '9007199254740991'

-- Writes a decision.
local function writeDecision(id, d, expiry)
  call('HSET', key.decisions, id, formatDecision(d))
  call('ZADD', key.decided, notPosted, id)
  call('PEXPIREAT', key.decisions, expiry)
  call('PEXPIREAT', key.decided, expiry)
end

-- The withdrawal of a decision, by which the exit means what it does by the pairing rule.
-- It is kept until it is posted.
local function withdrawalOf(d, revision, meant)
  return {
    revision = revision, state = 'w', exit = d.exit, exitPlate = d.exitPlate,
    entry = meant, entryPlate = '', exact = '', stay = '',
  }
end

-- Returns the id of the exit that an entry is given to and what was decided of it, if
-- there is one.
local function holderOf(member)
  local id = call('HGET', key.given, idOf(member))
  local text = id and call('HGET', key.decisions, id)
  local d = text and parseDecision(text)
  if d and d.state ~= 'w' and d.entry == member then
    return id, d
  end
end

-- Takes from an exit the entry that a decision gave it.
local function release(id, d)
  local entered = idOf(d.entry)
  if d.state == 'w' or call('HGET', key.given, entered) ~= id then
    return
  end
  call('HDEL', key.given, entered)
  if tonumber(call('ZSCORE', key.gone, d.entryPlate) or -1) == millisOf(d.entry) then
    call('ZREM', key.gone, d.entryPlate)
  end
end

-- Forgets what was decided of an exit.
local function forgetDecision(id)
  local text = call('HGET', key.decisions, id)
  if text then
    release(id, parseDecision(text))
    call('HDEL', key.decisions, id)
    call('ZREM', key.decided, id)
  end
end

-- Returns '1' if a pair, as a field of key.rejections, is rejected, '0' if that was withdrawn,
-- or nothing if there was none or it expired; and the JSON of the rejection and of its
-- withdrawal. oldest is the oldest retained instant, as in a member.
local function rejectionOf(pair, oldest)
  local at, state, rejected, withdrawn = match(call('HGET', key.rejections, pair) or '', '^(%d+)\n(%d)\n([^\n]*)\n([^\n]*)$')
  if at and tonumber(at) >= millisOf(oldest) then
    return state, rejected, withdrawn
  end
end
