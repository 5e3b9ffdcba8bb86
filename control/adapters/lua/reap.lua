-- The tick's share. ARGV: 1 age ms after which a starting session is undriven.
-- Answers undriven sessions, sessions handed over. Lists forget what expired, oldest first.
reap(50)
for _, list in ipairs({'sessions'}) do
  for _, sid in ipairs(call('ZRANGE', P .. list, 0, 199)) do
    local tenant = call('HGET', P .. 's:' .. sid, 'tenant')
    if tenant then break end
    call('ZREM', P .. list, sid)
  end
end
local handed = hand()
local undriven = call('ZRANGE', STARTING, '-inf', NOW - tonumber(ARGV[1]), 'BYSCORE', 'LIMIT', 0, 50)
return {undriven, handed}
