-- Returns the members of sorted sets that are before ARGV[1] and not before ARGV[2], at
-- most ARGV[3] of each, the last ones. It reads the sets of a site at one moment, so that
-- a stay that changes its status is in one of them; a transaction for all sites is nothing
-- that a Redis Cluster takes.

local found = {}
for _, set in ipairs(KEYS) do
  for _, member in ipairs(redis.call('ZREVRANGEBYLEX', set, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
    found[#found + 1] = member
  end
end
return found
