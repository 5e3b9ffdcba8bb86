-- The first frame was seen. ARGV: 1 session, 2 generation. Answers 1, or 0 for a lost lease.
-- Invariant: an older generation changes nothing.
local name, leased = lease_of(ARGV[1])
if leased ~= tonumber(ARGV[2]) then return 0 end
confirm(ARGV[1], name)
call('HDEL', P .. 's:' .. ARGV[1], 'task_token')
return 1
