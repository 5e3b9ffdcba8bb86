-- Affinity, choice and fenced lease in one step.
-- ARGV: 1 session, 2 tenant, 3 lesson digest, 4 avatar, 5 distance term, 6 session ttl ms,
-- 7 idempotency digest or '', 8 fingerprint, 9 waits in the queue: 1 or 0, 10 weight, 11 most open
-- sessions of the tenant or 0, 12 what else is known of it (JSON), 13 token of the caller's own room
-- or '', 14 may take the name of a warm room: 1 or 0, 15 digest of its class or '', 16 the class.
-- Answers outcome, session, sessions handed over.
-- Invariant: one open session a lesson, and a lease only on a worker with used < slots, or in the
-- place of one held for its class.
local sid, tenant, lesson, avatar, distance = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lesson_key, key = P .. 'lesson:' .. lesson, P .. 's:' .. sid
local idem = ARGV[7] ~= '' and P .. 'idem:' .. ARGV[7]
reap_a_little()
local line = call('ZCARD', TURNS) > 0
local handed = line and hand() or {}

local function remember(found)
  if idem then call('SET', idem, found .. '|' .. ARGV[8], 'EX', FINISHED_S) end
end

if idem then
  local known = call('GET', idem)
  if known then
    local found, fingerprint = string.match(known, '^(.+)|(.+)$')
    if fingerprint ~= ARGV[8] then return {'conflict', found, handed} end
    local was = call('HMGET', P .. 's:' .. found, 'status', 'worker_id')
    if was[1] and not (was[1] == 'live' and dead(was[2])) then return {'existing', found, handed} end
  end
end

local current = call('GET', lesson_key)
if current then
  local was = call('HMGET', P .. 's:' .. current, 'status', 'worker_id')
  if was[1] == 'live' and dead(was[2]) then
    finish(current, 'failed', 'Its worker stopped answering.')
  elseif OPEN[was[1] or ''] then
    remember(current)
    return {'existing', current, handed}
  end
end
if call('EXISTS', key) == 1 then return {'existing', sid, handed} end
if call('SISMEMBER', P .. 'avatars', avatar) == 0 and call('EXISTS', P .. 'avatars') == 1 then
  return {'unknown-avatar', '', handed}
end
local most = tonumber(ARGV[11])
if most > 0 and (tonumber(call('HGET', P .. 'open', tenant)) or 0) >= most then
  return {'quota', '', handed}
end

local chosen, seen
local class = ARGV[15] ~= '' and ARGV[15]
if class then chosen, seen = choose_held(class, avatar, {}) end
if not chosen and (not line or call('ZCARD', TURNS) == 0) then chosen, seen = choose(avatar, {}) end
local waits = ARGV[9] == '1'
if not chosen and (not waits or queue_is_full()) then return {'full', '', handed} end
local warm = chosen and ARGV[14] == '1' and call('LPOP', P .. 'warm:' .. chosen[1])
if warm and call('EXISTS', P .. 's:' .. warm) == 0 then sid, key = warm, P .. 's:' .. warm end
local birth = call('INCR', P .. 'births')
local fields = {'tenant', tenant, 'lesson', lesson, 'avatar', avatar, 'distance', distance,
  'created_ms', NOW, 'expires_ms', NOW + tonumber(ARGV[6]), 'given', ARGV[12]}
local function add(field, value)
  fields[#fields + 1], fields[#fields + 2] = field, value
end
if waits then add('waits', ARGV[10]) end
if ARGV[13] ~= '' then add('own_room_token', ARGV[13]) end
if class then
  add('class', class)
  know_class(class, tenant, ARGV[16])
  call('HINCRBY', P .. 'class:' .. class, 'came', 1)
  call('HINCRBY', P .. 'class:' .. class, 'open', 1)
end
call('SET', lesson_key, sid)
call('ZADD', P .. 'sessions', birth, sid)
local own = P .. 'tenant:' .. tenant
call('ZADD', own, birth, sid)
local first = call('HINCRBY', P .. 'open', tenant, 1) == 1
if first or birth % 16 == 0 then
  call('EXPIRE', own, 2 * FINISHED_S)
  call('ZREMRANGEBYRANK', P .. 'changes', 0, -10001)
  -- what the tick has forgotten
  call('ZREMRANGEBYSCORE', own, '-inf', '(' .. (call('GET', P .. 'oldest') or 0))
end
changed(lesson, sid, NOW, 0)
remember(sid)
if chosen then
  take(sid, chosen, seen, 1, '', fields)
else
  call('HSET', key, 'status', 'queued', unpack(fields))
  enqueue(sid, tenant, ARGV[10], birth)
  record(sid)
end
return {chosen and 'placed' or 'queued', sid, handed}
