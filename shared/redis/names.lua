-- KEYS[1]  zset of registry.lua
--
-- Returns the names that are still kept, one a line.

return table.concat(call('ZRANGE', KEYS[1], '(' .. call('TIME')[1] .. '000', '+inf', 'BYSCORE'), '\n')
