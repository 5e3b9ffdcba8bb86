-- A pool that nothing is launched from. ARGV: 1 pool, 2 until (Unix s), 3 why. Answers 0 where it is
-- banned for as long already.
local known = call('HGET', P .. 'bans', ARGV[1])
if known and tonumber(string.match(known, '^[^|]+')) >= tonumber(ARGV[2]) then return 0 end
call('HSET', P .. 'bans', ARGV[1], ARGV[2] .. '|' .. ARGV[3])
return 1
