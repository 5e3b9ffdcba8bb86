-- Affinity, choice and fenced lease in one step. ARGV[1]: the request as JSON.
local ask = cjson.decode(ARGV[1])
reap(50)

local function existing(sid)
  if ask.idempotency_key then
    redis.call('SET', ask.idempotency_key, sid .. '|' .. ask.fingerprint, 'EX', FINISHED_S)
  end
  return {'existing', sid}
end

if ask.idempotency_key then
  local known = redis.call('GET', ask.idempotency_key)
  if known then
    local sid, fingerprint = string.match(known, '^(.+)|(.+)$')
    if fingerprint ~= ask.fingerprint then return {'conflict', sid} end
    if redis.call('EXISTS', P .. 's:' .. sid) == 1 then return {'existing', sid} end
  end
end
local current = redis.call('GET', ask.lesson_key)
if current and OPEN[redis.call('HGET', P .. 's:' .. current, 'status') or ''] then
  return existing(current)
end
local key = P .. 's:' .. ask.session_id
if redis.call('EXISTS', key) == 1 then return {'existing', ask.session_id} end

if redis.call('EXISTS', P .. 'avatars') == 1
    and redis.call('SISMEMBER', P .. 'avatars', ask.avatar) == 0 then
  return {'unknown-avatar', ''}
end
local chosen, seen = choose(ask.avatar, ask.distance, {}, ask.margin)
if not chosen then return {'full', ''} end

local generation = take(ask.session_id, chosen.worker_id, ask.unconfirmed_ttl_ms)
local why = cjson.encode({chosen = chosen.worker_id, generation = generation, store_ms = NOW,
  candidates = seen})
redis.call('HSET', key,
  'tenant', ask.tenant, 'lesson_id', ask.lesson_id, 'avatar', ask.avatar, 'status', 'starting',
  'region', ask.region, 'worker_id', chosen.worker_id, 'worker_url', chosen.url,
  'worker_registration', chosen.reg, 'generation', generation, 'placements', 1,
  'created_ms', NOW, 'expires_ms', NOW + ask.session_ttl_ms, 'distance', tostring(ask.distance),
  'lesson_key', ask.lesson_key, 'why', why)
for field, value in pairs(ask.fields) do redis.call('HSET', key, field, value) end
redis.call('SET', ask.lesson_key, ask.session_id)
redis.call('ZADD', P .. 'starting', NOW, ask.session_id)
for _, list in ipairs({P .. 'sessions', P .. 'tenant:' .. ask.tenant}) do
  redis.call('ZADD', list, generation, ask.session_id)
  for _, old in ipairs(redis.call('ZRANGE', list, 0, 1)) do -- forgotten ones leave as new ones come
    if redis.call('EXISTS', P .. 's:' .. old) == 0 then redis.call('ZREM', list, old) end
  end
end
record(ask.session_id)
existing(ask.session_id)
return {'placed', ask.session_id}
