local found = {}
for _, set in ipairs(KEYS) do
  for _, member in ipairs(redis.call('ZREVRANGEBYLEX', set, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
    found[#found + 1] = member
  end
end
return found
