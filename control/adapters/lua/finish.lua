-- ARGV: session, generation that asks (0: whoever), ended|failed, reason.
-- A worker whose lease went to another one cannot end the session it lost.
local sid, asked = ARGV[1], tonumber(ARGV[2])
if asked > 0 and asked ~= tonumber(redis.call('HGET', P .. 's:' .. sid, 'generation')) then
  return 0
end
return finish(sid, ARGV[3], ARGV[4]) and 1 or 0
