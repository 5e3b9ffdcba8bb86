-- The one plan in flight. ARGV: 1 execution, 2 ms that it may last. Answers who has the place now:
-- the first who came, for whom it is held anew.
local holder = call('GET', P .. 'flight')
if holder and holder ~= ARGV[1] then return holder end
call('SET', P .. 'flight', ARGV[1], 'PX', ARGV[2])
return ARGV[1]
