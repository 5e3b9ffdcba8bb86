-- The worker did not do: give its lease back, leave it out, choose another.
-- ARGV: 1 session, 2 generation that failed (0: whichever), 3 most placements.
-- Answers outcome, sessions handed over. Invariant: asked twice for one failure, it moves once.
local sid, failed, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. 's:' .. sid
local s = call('HMGET', key, 'status', 'avatar', 'placements', 'left_out', 'worker_id', 'generation')
if not s[1] then return {'unknown', {}} end
if not OPEN[s[1]] then return {'finished', {}} end
if failed > 0 and failed ~= tonumber(s[6]) then return {'placed', {}} end
drop(sid)
call('HDEL', key, 'task_token')
local left_out = (s[4] and s[4] ~= '' and s[4] .. ' ' or '') .. s[5]
if tonumber(s[3]) >= most then return {'exhausted', hand()} end
local excluded = {}
for name in string.gmatch(left_out, '%S+') do excluded[name] = true end
local chosen, seen = choose(s[2], excluded)
if chosen then take(sid, chosen, seen, left_out) end
return {chosen and 'placed' or 'full', hand()}
