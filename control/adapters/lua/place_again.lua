-- The worker did not do: give its lease back, leave it out, choose another; where nobody at all has a
-- slot, one that waits goes back into the queue, to where it stood.
-- ARGV: 1 session, 2 generation that failed (0: whichever), 3 most placements, 4 the worker is unable:
-- 1 or 0. Answers outcome, sessions handed over.
-- Invariant: asked twice for one failure, it moves once.
local sid, failed, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. 's:' .. sid
local s = call('HMGET', key, 'status', 'avatar', 'placements', 'left_out', 'worker_id', 'generation',
  'tenant', 'waits', 'class')
if not s[1] then return {'unknown', {}} end
if not OPEN[s[1]] then return {'finished', {}} end
if failed > 0 and failed ~= tonumber(s[6] or 0) then return {'placed', {}} end
if s[1] == 'queued' then -- a failover put it back in its queue: there it stays
  call('HINCRBY', key, 'round', 1)
  return {'queued', hand()}
end
drop(sid)
call('HDEL', key, 'task_token')
-- it has no slot though the leases say so, or does not answer: its next heartbeat makes it free again
if ARGV[4] == '1' and s[5] then call('ZREM', FREE, s[5]) end
local excluded, left_out = {}, {}
for name in string.gmatch((s[4] or '') .. ' ' .. (s[5] or ''), '%S+') do
  if not excluded[name] then left_out[#left_out + 1] = name end
  excluded[name] = true
end
local outcome, chosen, seen = 'exhausted', nil, nil
if tonumber(s[3] or 0) < most then
  if s[9] then chosen, seen = choose_held(s[9], s[2], excluded) end
  if not chosen then chosen, seen = choose(s[2], excluded) end
  outcome = chosen and 'placed' or 'full'
end
if chosen then
  take(sid, chosen, seen, tonumber(s[3] or 0) + 1, table.concat(left_out, ' '), {})
elseif outcome == 'full' and s[8] and not queue_is_full() and not choose(s[2], {}) then
  outcome = 'queued'
  call('HSET', key, 'status', 'queued')
  call('HINCRBY', key, 'round', 1) -- a setup of its own for the next slot
  call('HDEL', key, 'worker_id', 'worker_url', 'worker_registration', 'chose', 'heads', 'left_out')
  call('ZREM', STARTING, sid)
  enqueue(sid, s[7], s[8], call('ZSCORE', P .. 'sessions', sid))
  record(sid)
else
  call('HSET', key, 'status', 'starting')
  call('ZADD', STARTING, 'NX', NOW, sid)
end
return {outcome, hand()}
