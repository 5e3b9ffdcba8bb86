-- The fleet is paid up to a moment. ARGV: 1 what `accounted` was (empty: nothing), 2 what it becomes,
-- then day|pool|what and how much more of it, again and again.
-- Answers 0, and adds nothing, where another planner was quicker: no time is paid twice.
if (call('GET', P .. 'accounted') or '') ~= ARGV[1] then return 0 end
call('SET', P .. 'accounted', ARGV[2])
local last = #ARGV - #ARGV % 2 -- in tests the clock comes behind
for at = 3, last, 2 do
  call('HINCRBYFLOAT', P .. 'costs', ARGV[at], ARGV[at + 1])
end
return 1
