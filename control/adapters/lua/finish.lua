-- ARGV: 1 session, 2 generation that asks (0: whoever), 3 ended|failed, 4 reason.
-- Answers whether this call ended it, sessions handed over.
-- Invariant: a worker whose lease went to another one cannot end the session it lost.
local sid, asked = ARGV[1], tonumber(ARGV[2])
if asked > 0 and asked ~= tonumber(call('HGET', P .. 's:' .. sid, 'generation')) then
  return {0, {}}
end
local done = finish(sid, ARGV[3], ARGV[4])
return {done and 1 or 0, call('ZCARD', TURNS) > 0 and hand() or {}}
