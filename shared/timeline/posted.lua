-- Notes that stays were posted as they were decided. A withdrawal is forgotten then.
--
-- KEYS[1]  prefix of the site's keys: layout.lua says what they are
-- ARGV     id of each exit, each followed by the revision that was posted

for i = 1, #ARGV, 2 do
  local id, text = ARGV[i], call('HGET', key.decisions, ARGV[i])
  local d = text and parseDecision(text)
  if d and d.revision == ARGV[i + 1] then
    if d.state == 'w' then
      call('HDEL', key.decisions, id)
      call('ZREM', key.decided, id)
    elseif d.state ~= 'p' then
      d.state = 'p'
      call('HSET', key.decisions, id, formatDecision(d))
      call('ZADD', key.decided, millisOf(d.exit), id)
    end
  end
end
return ''
