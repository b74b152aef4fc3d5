-- Counts a refused login, and reports whether it gets an entry: the 1st, 10th, 100th, ...
-- of a user and an address in a minute.
--
-- KEYS[1]  prefix of the audit's keys
-- ARGV[1]  user and address
-- ARGV[2]  how many of them are counted apart in a minute; further ones count together
--
-- Returns how many there were in the minute, negative of those that count together; 0 if
-- this one gets no entry.

-- hash: user and address -> refused logins since the minute began; it expires with it
local counts = KEYS[1] .. 'minute'
local together = ''

local who = ARGV[1]
if call('HLEN', counts) >= tonumber(ARGV[2]) and call('HEXISTS', counts, who) == 0 then
  who = together
end
local n = call('HINCRBY', counts, who, '1')
if call('PTTL', counts) < 0 then
  call('PEXPIRE', counts, '60000')
end
local power = 1
while power < n do
  power = power * 10
end
if power ~= n then
  return 0
end
return who == together and -n or n
