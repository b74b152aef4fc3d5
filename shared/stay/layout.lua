-- How the stays of a site are stored; every script of this package begins with it, after
-- the prelude. layout.go is the same for Go.
--
-- KEYS[1] of each script is the prefix of the site's keys, "stay:{<site>}:". Its hash tag
-- puts all of them in the slot of KEYS[1].
--
-- A position is a stay in the order of time: 16 digits of base 16 of the exit's
-- nanoseconds since 1970, then the stay's id. A place is its plate, a line feed and its
-- position: the order of places has the stays of a plate together. A stay whose reads have
-- other plates has a place of each of them, too.
--
-- A mark is a method of a completed stay other than "exact", or "disputed".
--
-- The value of a stay is
--   a line    "<revision> <seconds> <tally>": how long it was, 0 if it has no entry, and
--             where it is counted: "<day> c <bucket>" if it is completed, "<day> u" if it is an
--             unmatched exit, "<day> r" if it repeats the exit before it, "<day> v" if it is void
--   a line    the plate
--   8 bytes   the exit in nanoseconds since 1970, big endian
--   8 bytes   when this revision was stored, in milliseconds
-- and of a completed stay
--   8 bytes   the entry in nanoseconds
--   the rest  the id of the entry
-- and of one with marks, after a line feed, which ids do not have
--   a line    the marks, with blanks between them
--   a line    the other plates, likewise
--   the rest  the explanation as JSON
-- Stays are fields of one hash and not keys that expire one by one: that takes a third of
-- the memory. The scripts forget the oldest.

local find, gmatch = string.find, string.gmatch

local prefix = KEYS[1]
local key = {
  -- hash: stay id -> value
  stays = prefix .. 's',
  -- zset of places, all with score 0
  plates = prefix .. 'p',
  -- zset, with the letter of a status behind the name: positions, all with score 0
  status = prefix .. 'x:',
  -- zset, with a mark behind the name: the positions of the stays that have it, all with
  -- score 0
  marked = prefix .. 'm:',
  -- hash, with the day since 1970 behind the name: its exits by letter, the "seconds" of
  -- the completed stays together and, for each bucket of durations, "b<bucket>", for each
  -- mark "m:<mark>"
  day = prefix .. 'd:',
}

local statuses = { 'c', 'u', 'r', 'v' }
local marks = { 'ocr', 'edit', 'two_edits', 'split', 'corrected', 'disputed' }

local function idOf(position)
  return sub(position, 17)
end

local function placeOf(plate, position)
  return plate .. '\n' .. position
end

-- Returns the marks of a value and the other plates, or nil if it has no marks.
local function marksOf(value)
  -- The entry's id begins 25 bytes behind the end of the plate.
  local _, plate = find(value, '^[^\n]*\n[^\n]*\n')
  local id = plate and find(value, '\n', plate + 25, true)
  if id then
    return match(value, '^([^\n]*)\n([^\n]*)\n', id + 1)
  end
end
