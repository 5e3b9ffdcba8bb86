-- Renews a queued session's ticket. ARGV: 1 session.
-- Answers nothing, or tenant, its rank among its own, pace ms or '', then tenant, turn, weight,
-- length of each line.
local sid = ARGV[1]
local s = call('HMGET', P .. 's:' .. sid, 'status', 'tenant')
if s[1] ~= 'queued' then return {} end
call('ZADD', P .. 'tickets', 'XX', NOW + TICKET_MS, sid)
local answer = {s[2], call('ZRANK', P .. 'q:' .. s[2], sid), call('HGET', P .. 'pace', 'ms') or ''}
local turns = call('ZRANGE', TURNS, 0, -1, 'WITHSCORES')
for i = 1, #turns, 2 do
  local weight = call('HGET', P .. 'weights', turns[i]) or '1'
  for _, part in ipairs({turns[i], turns[i + 1], weight, call('ZCARD', P .. 'q:' .. turns[i])}) do
    answer[#answer + 1] = part
  end
end
return answer
