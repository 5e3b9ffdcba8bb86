-- The tick's share. ARGV: 1 age ms after which a starting session is undriven.
-- Answers undriven sessions, sessions handed over.
-- Invariant: the list of sessions holds those that still exist.
reap(50)
local births = call('ZRANGE', P .. 'sessions', 0, 199, 'WITHSCORES')
for i = 1, #births, 2 do
  if call('EXISTS', P .. 's:' .. births[i]) == 1 then
    call('SET', P .. 'oldest', births[i + 1])
    break
  end
  call('ZREM', P .. 'sessions', births[i])
end
call('ZREMRANGEBYSCORE', P .. 'classes', '-inf', NOW - 1000 * FINISHED_S)
local handed = hand()
local undriven = call('ZRANGE', STARTING, '-inf', NOW - tonumber(ARGV[1]), 'BYSCORE', 'LIMIT', 0, 50)
return {undriven, handed}
