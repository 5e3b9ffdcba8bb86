-- The worker did not do: give its lease back, leave it out, choose another.
-- ARGV: session, generation that failed (0: whichever), most placements, lease ttl ms, margin
local sid, failed, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. 's:' .. sid
local s = redis.call('HMGET', key, 'status', 'avatar', 'distance', 'placements', 'excluded',
  'worker_id', 'generation')
if not s[1] then return {'unknown', ''} end
if not OPEN[s[1]] then return {'finished', ''} end
if failed > 0 and failed ~= tonumber(s[7]) then return {'placed', s[6]} end -- asked twice
drop(sid)
local excluded = cjson.decode(s[5] or '{}')
excluded[s[6]] = true
if tonumber(s[4]) >= most then return {'exhausted', s[6]} end
local chosen, seen = choose(s[2], tonumber(s[3]), excluded, tonumber(ARGV[5]))
redis.call('HSET', key, 'excluded', cjson.encode(excluded))
redis.call('HDEL', key, 'task_token')
if not chosen then return {'full', s[6]} end
local generation = take(sid, chosen.worker_id, tonumber(ARGV[4]))
local names = {}
for name in pairs(excluded) do names[#names + 1] = name end
redis.call('HSET', key, 'worker_id', chosen.worker_id, 'worker_url', chosen.url,
  'worker_registration', chosen.reg, 'generation', generation, 'placements', s[4] + 1,
  'why', cjson.encode({chosen = chosen.worker_id, generation = generation, store_ms = NOW,
    candidates = seen, excluded = names}))
record(sid)
return {'placed', chosen.worker_id}
