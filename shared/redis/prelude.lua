-- What every script begins with; script.go puts it there.
--
-- A call of Redis costs about a microsecond, whatever is asked, so what can be read or
-- written once a script is. Numbers go there as the text of `integer`: Lua and Redis by
-- themselves write them as floating point, which shows in a profile.

local call = redis.call
local sub, byte, format, match, floor = string.sub, string.byte, string.format, string.match, math.floor

local function integer(n)
  return format('%d', n)
end

-- An instant is written as 13 digits of base 32 or 16 of base 16 of the nanoseconds
-- since 1970; see instant.go. This is its order as a number: exact to 256 nanoseconds of
-- base 32. Of base 16 it is the same number of other digits, with the same order.
local function instant(text)
  return tonumber(sub(text, 1, 13), 32)
end

-- Reports whether text a, which begins with an instant, is before text b, which begins
-- with one of the same base, by the order of their bytes. Lua's own < follows the locale
-- of Redis, which may sort "aa" after "ab": instants are compared as numbers, and what
-- those round away byte by byte. A caller that knows the instant of a may pass it.
local function precedes(a, b, at)
  local x, y = at or instant(a), instant(b)
  if x ~= y then
    return x < y
  end
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- An error in the middle of a script keeps what was done before it. A script that must
-- do all or nothing asks first whether it may write: each of `writes` is a command with
-- a key and an argument. Returns the error to answer with, or nil.
local function refusal(writes, what)
  for _, write in ipairs(writes) do
    if not redis.acl_check_cmd(unpack(write)) then
      return redis.error_reply('NOPERM the user may not run ' .. write[1] .. ' on the keys of ' .. what)
    end
  end
end

