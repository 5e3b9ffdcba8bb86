-- Frees the place of the plan in flight. ARGV: 1 execution. Answers 0 where another has it.
if call('GET', P .. 'flight') ~= ARGV[1] then return 0 end
call('DEL', P .. 'flight')
return 1
