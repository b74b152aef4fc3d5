-- Takes stays of one site in: of each the highest revision is kept.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV[1]  oldest retained instant, as in a position
-- ARGV[2]  when the keys expire, in milliseconds since 1970: later than any stay in them
-- then six for each stay, none of which stands twice:
--   position  see layout.lua
--   plate     normalised
--   status    the letter in the tally, and the marks, each after a blank
--   seconds   duration; 0 unless it is completed
--   tally     as in the value
--   value     see layout.lua
--
-- Returns how many stays were stored; the others were known at this revision or a higher
-- one.
--
-- An example, which TestTheExampleOfTheScript runs. On 2100-11-23 the exit x1 of 09:45 of
-- the plate KA01 is stored without an entry, then with that of 08:15, 5,400 seconds before:
--
--   position            plate  status  seconds  tally        value                     stored
--   395300ecbc481800x1  KA01   u       0        47808 u      1 0 47808 u ...           1
--   395300ecbc481800x1  KA01   c       5400     47808 c 220  2 5400 47808 c 220 ...    1
--
-- The keys of the site have in them, behind their prefix:
--
--   s        x1 -> the second value
--   p        KA01 and 395300ecbc481800x1, in two lines
--   x:c      395300ecbc481800x1; x:u has nothing any more, and m:... nothing
--   d:47808  c 1, u 0, seconds 5400, b220 1
--
-- After the function for one stay the phases stand in order: read, apply, write, sweep.

-- Upper bound on expired stays of a status removed per call, to keep the script short. It is
-- more than a call brings.
local maxForgotten = '500'

local argv = ARGV
local headArgs, stayArgs = 2, 6
local oldest, expiry = argv[1], argv[2]

-- What apply hands on.
local stored, values = 0, {}                      -- how many; ids, each followed by its value
local places = { n = 0 }                          -- scores, each followed by a place; n: length
local positions = {}                              -- by status, scores and positions
for _, status in ipairs(statuses) do
  positions[status] = { n = 0 }
end
local marked = {}                                 -- by mark, likewise
for _, mark in ipairs(marks) do
  marked[mark] = { n = 0 }
end
local counts, sums = {}, {}                       -- tally, and marks after it -> stays to add, and their seconds

------------------------------------------------------------------------------------------
-- One stay
------------------------------------------------------------------------------------------

local function add(members, member)
  local n = members.n
  members[n + 1], members[n + 2], members.n = '0', member, n + 2
end

local function count(tally, n, seconds)
  counts[tally] = (counts[tally] or 0) + n
  sums[tally] = (sums[tally] or 0) + seconds
end

local function hex(char)
  return format('%02x', byte(char))
end

-- Lists a stay by its marks and by the other plates.
local function mark(itsMarks, otherPlates, position)
  for one in gmatch(itsMarks, '%S+') do
    add(marked[one], position)
  end
  for plate in gmatch(otherPlates, '%S+') do
    add(places, placeOf(plate, position))
  end
end

local function unmark(itsMarks, otherPlates, position)
  for one in gmatch(itsMarks, '%S+') do
    call('ZREM', key.marked .. one, position)
  end
  for plate in gmatch(otherPlates, '%S+') do
    call('ZREM', key.plates, placeOf(plate, position))
  end
end

-- Takes one stay in. known is its value so far, if it has one.
local function apply(id, known, position, plate, status, seconds, tally, value)
  local place, isPlaced, isListed = placeOf(plate, position), false, false
  local newMarks, newPlates
  if #status > 1 then
    newMarks, newPlates = marksOf(value)
    status, tally = sub(status, 1, 1), tally .. ' ' .. newMarks
  end
  if known then
    local revision, oldSeconds, oldTally, oldPlate, exit = match(known, '^(%d+) (%d+) ([^\n]*)\n([^\n]*)\n(........)')
    local oldMarks, oldPlates = marksOf(known)
    exit = string.gsub(exit, '.', hex)
    -- What expired may not be forgotten yet, while its id is used for another exit.
    local expired = precedes(exit, oldest)
    if not expired then
      if tonumber(revision) >= tonumber(match(value, '^%d+')) then
        return
      end
      count(oldMarks and oldTally .. ' ' .. oldMarks or oldTally, -1, -oldSeconds)
    end
    local oldStatus, oldPosition = match(oldTally, ' (%a)'), exit .. id
    if oldMarks then
      unmark(oldMarks, oldPlates, oldPosition)
    end
    isListed = oldStatus == status and oldPosition == position
    if not isListed then
      call('ZREM', key.status .. oldStatus, oldPosition)
    end
    local oldPlace = placeOf(oldPlate, oldPosition)
    isPlaced = oldPlace == place
    if not isPlaced then
      call('ZREM', key.plates, oldPlace)
    end
  end
  values[2 * stored + 1], values[2 * stored + 2] = id, value
  stored = stored + 1
  if not isPlaced then
    add(places, place)
  end
  if not isListed then
    add(positions[status], position)
  end
  if newMarks then
    mark(newMarks, newPlates, position)
  end
  count(tally, 1, seconds)
end

------------------------------------------------------------------------------------------
-- Read
------------------------------------------------------------------------------------------

local ids = {}
for n = 1, (#argv - headArgs) / stayArgs do
  ids[n] = idOf(argv[headArgs + (n - 1) * stayArgs + 1])
end
local known = call('HMGET', key.stays, unpack(ids))

------------------------------------------------------------------------------------------
-- Apply
------------------------------------------------------------------------------------------

for n, id in ipairs(ids) do
  local i = headArgs + (n - 1) * stayArgs
  apply(id, known[n], argv[i + 1], argv[i + 2], argv[i + 3], argv[i + 4], argv[i + 5], argv[i + 6])
end

------------------------------------------------------------------------------------------
-- Write: once a call, what changed
------------------------------------------------------------------------------------------

-- Every key outlives the stays in it, and expires when the site falls silent.
local function write(command, name, args)
  if args[1] then
    call(command, name, unpack(args))
    call('PEXPIREAT', name, expiry)
  end
end
write('HSET', key.stays, values)
write('ZADD', key.plates, places)
for status, members in pairs(positions) do
  write('ZADD', key.status .. status, members)
end
for one, members in pairs(marked) do
  write('ZADD', key.marked .. one, members)
end

local days = {} -- day since 1970 -> numbers to add
for tally, n in pairs(counts) do
  local day, status, bucket, itsMarks = match(tally, '^(%d+) (%a) ?(%d*)(.*)$')
  local numbers = days[day] or {}
  days[day] = numbers
  numbers[status] = (numbers[status] or 0) + n
  if status == 'c' then
    numbers.seconds = (numbers.seconds or 0) + sums[tally]
    numbers['b' .. bucket] = (numbers['b' .. bucket] or 0) + n
    for one in gmatch(itsMarks, '%S+') do
      numbers['m:' .. one] = (numbers['m:' .. one] or 0) + n
    end
  end
end
for day, numbers in pairs(days) do
  for field, n in pairs(numbers) do
    if n ~= 0 then
      call('HINCRBY', key.day .. day, field, integer(n))
    end
  end
  call('PEXPIREAT', key.day .. day, expiry)
end

------------------------------------------------------------------------------------------
-- Sweep: some of what expired
------------------------------------------------------------------------------------------

for status in pairs(positions) do
  local index = key.status .. status
  local expired = call('ZRANGEBYLEX', index, '-', '(' .. oldest, 'LIMIT', '0', maxForgotten)
  if #expired > 0 then
    local gone, gonePlaces = {}, {}
    for n, position in ipairs(expired) do
      gone[n] = idOf(position)
    end
    for n, value in ipairs(call('HMGET', key.stays, unpack(gone))) do
      gonePlaces[n] = placeOf(value and match(value, '\n([^\n]*)\n') or '', expired[n])
      local itsMarks, otherPlates = marksOf(value or '')
      if itsMarks then
        unmark(itsMarks, otherPlates, expired[n])
      end
    end
    call('HDEL', key.stays, unpack(gone))
    call('ZREM', key.plates, unpack(gonePlaces))
    call('ZREM', index, unpack(expired))
  end
end
return stored
