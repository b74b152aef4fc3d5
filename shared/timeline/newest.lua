-- Returns the newest members of a sorted set that are before one ('' for all), the newest
-- first, at most so many, and none with a lower score than the lowest. The scores are the
-- milliseconds of the members, some of which are rounded to the next one, so the order is
-- that of members. Where a page begins is found by halving: a stranger may send very many
-- events of one instant.
local function newestBefore(zset, before, most, lowest)
  local low, high = 0, call('ZCARD', zset)
  if before ~= '' then
    local millis = millisOf(before)
    low = call('ZCOUNT', zset, '-inf', '(' .. integer(millis - 1))
    high = call('ZCOUNT', zset, '-inf', integer(millis + 1))
    while low < high do
      local middle = floor((low + high) / 2)
      if precedes(call('ZRANGE', zset, integer(middle), integer(middle))[1], before) then
        low = middle + 1
      else
        high = middle
      end
    end
  end
  local first, found = math.max(high - most, call('ZCOUNT', zset, '-inf', '(' .. lowest)), {}
  if first < high then
    local some = call('ZRANGE', zset, integer(first), integer(high - 1))
    for i = #some, 1, -1 do
      found[#found + 1] = some[i]
    end
  end
  return found
end

