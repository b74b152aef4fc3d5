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
  -- hash: id -> slot of the event, and what else is kept of it: nothing, or a line feed
  -- and text. It tells a duplicate from a conflict, together with the timeline.
  events = prefix .. 'e',
  -- hash: plate -> the newest members of its timeline, one a line; after a '+' if there
  -- are older ones.
  timelines = prefix .. 't',
  -- hash: id of an exit -> how often its stay changed after it was made. If the id is
  -- used again that goes on: a revision never falls.
  revisions = prefix .. 'r',
  -- zset: plates inside -> milliseconds of their entry
  inside = prefix .. 'in',
  -- hash: entries, exits, completed, unmatched and missed; of the last count by hand
  -- counted, counted_at (milliseconds) and since, the entries less the exits that were
  -- observed later; and swept: where the search for what expired goes on, through how
  -- many plates it goes, and when it was there (milliseconds)
  totals = prefix .. 'n',
  -- list: counts by hand, newest first: milliseconds, counted, shown until then, reason;
  -- one a line
  corrections = prefix .. 'c',
  -- zset, with the plate behind the name: the older members of a timeline. Their score,
  -- the milliseconds, gives their order and is quicker to compare.
  older = prefix .. 'o:',
  -- hash, with the day since 1970 behind the name: "entries", "exits" and, for each minute
  -- of the day, "e<minute>" and "x<minute>"
  day = prefix .. 'd:',
}

-- The kind of a member, as a byte: no string has to be made of it. nil of no member.
local entry, exit = byte('0'), byte('1')
local function kindOf(member)
  return member and byte(member, 14)
end

local function idOf(member)
  return sub(member, 15)
end

-- The slot of a member, or of what is kept of an event.
local function slotOf(text)
  return sub(text, 1, 4)
end

-- The members in a field of key.timelines.
local eachMember = '[^+\n][^\n]*'

