-- The worker did not do: give its lease back, leave it out, choose another.
-- ARGV: 1 session, 2 generation that failed (0: whichever), 3 most placements.
-- Answers outcome, sessions handed over. Invariant: asked twice for one failure, it moves once.
local sid, failed, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. 's:' .. sid
local s = call('HMGET', key, 'status', 'avatar', 'placements', 'left_out', 'worker_id', 'generation',
  'tenant')
if not s[1] then return {'unknown', {}} end
if not OPEN[s[1]] then return {'finished', {}} end
if failed > 0 and failed ~= tonumber(s[6] or 0) then return {'placed', {}} end
drop(sid)
leave_queue(sid, s[7]) -- a failover may have put it back in its queue
call('HDEL', key, 'task_token')
local excluded, left_out = {}, {}
for name in string.gmatch((s[4] or '') .. ' ' .. (s[5] or ''), '%S+') do
  if not excluded[name] then left_out[#left_out + 1] = name end
  excluded[name] = true
end
local outcome, chosen, seen = 'exhausted', nil, nil
if tonumber(s[3] or 0) < most then
  chosen, seen = choose(s[2], excluded)
  outcome = chosen and 'placed' or 'full'
end
if chosen then
  take(sid, chosen, seen, table.concat(left_out, ' '))
else
  call('HSET', key, 'status', 'starting')
  call('ZADD', STARTING, 'NX', NOW, sid)
end
return {outcome, hand()}
