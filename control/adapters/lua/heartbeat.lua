-- ARGV: 1 worker, 2 registration, 3 state, 4 slots, 5 avatars with commas around each, ~ in front of
-- those that it would have to load, 6 p95 lateness ms, 7 what it runs: JSON
-- [[session, generation, live, learners], …], 8 warm rooms it has: JSON [[session to be, ready], …].
-- Answers ok|stale, desired state, leases to be left (JSON), sessions handed over, warm rooms that
-- are nobody's yet.
-- Invariants: leases alone decide what is used; what truly runs is never cut for what the store
-- forgot: it is adopted again, and what was held gives way to it. A closed worker stays closed.
local name = ARGV[1]
local known = call('HGET', WORKERS, name)
local _, late, reg, _, order, avatars = worker_of(name, known)
if not reg or reg > tonumber(ARGV[2]) then return {'stale', '', '[]', {}, {}} end
forgiving(true)
reg = tonumber(ARGV[2]) -- a failover may have forgotten that it registered
if avatars ~= ARGV[5] then
  for avatar in string.gmatch(ARGV[5], '[^,~]+') do call('SADD', P .. 'avatars', avatar) end
end
late = string.format('%.3f', 0.7 * late + 0.3 * ARGV[6])
local told = worker_text(ARGV[4], late, reg, ARGV[3], order, ARGV[5])
if told ~= known then call('HSET', WORKERS, name, told) end
call('ZADD', HB, NOW, name)

local function adoptable(sid, generation)
  local s = call('HMGET', P .. 's:' .. sid, 'status', 'generation')
  return not s[1] or (OPEN[s[1]] and tonumber(s[2] or 0) <= generation)
end

-- The store lost the lease, or all it knew of the session: the run is the truth.
local function adopt(sid, generation)
  local key = P .. 's:' .. sid
  local _, url = boot_and_url(name)
  if call('EXISTS', key) == 0 then
    call('HSET', key, 'tenant', '', 'avatar', '', 'distance', 1, 'created_ms', NOW, 'expires_ms',
      NOW + 6 * LIVE_MS, 'given', '{}', 'placements', 1)
    local birth = call('INCR', P .. 'births')
    call('ZADD', P .. 'sessions', birth, sid)
    call('HINCRBY', P .. 'open', '', 1)
  end
  leave_queue(sid, call('HGET', key, 'tenant'))
  call('HSET', key, 'worker_id', name, 'generation', generation, 'status', 'starting',
    'worker_url', url, 'worker_registration', reg)
  call('SADD', P .. 'on:' .. name, sid)
  call('HINCRBY', USED, name, 1)
  call('HINCRBY', STARTS, name, 1)
  call('HDEL', key, 'confirmed')
  confirm(sid, name)
  if generation > (tonumber(call('GET', P .. 'gen')) or 0) then call('SET', P .. 'gen', generation) end
  call('HINCRBY', P .. 'repairs', 'adopted', 1)
end

local revoked, names = {}, {}
local running = ARGV[7] ~= '[]' and cjson.decode(ARGV[7]) or {}
for _, one in ipairs(running) do
  local sid, generation, live = one[1], one[2], one[3]
  local on, leased = lease_of(sid)
  names[sid] = generation
  if on == name and leased == generation then
    if live then
      confirm(sid, name) -- a failover may have forgotten that it was
      if one[4] then call('HSET', P .. 'in', sid, one[4]) end
    end
  elseif not on and live and adoptable(sid, generation) then
    adopt(sid, generation)
  else
    revoked[#revoked + 1] = one
    call('HINCRBY', P .. 'repairs', 'revoked', 1)
  end
end

local function used()
  return tonumber(call('HGET', USED, name)) or 0
end

local before, holds = used(), false
for _, sid in ipairs(before > 0 and call('SMEMBERS', P .. 'on:' .. name) or {}) do
  if held_by(sid) then
    holds = true
  elseif names[sid] == tonumber(call('HGET', P .. 's:' .. sid, 'generation')) then
    call('HDEL', P .. 'miss', sid)
  elseif call('HEXISTS', P .. 's:' .. sid, 'confirmed') == 1 then
    call('HSETNX', P .. 'miss', sid, NOW)
    if NOW - call('HGET', P .. 'miss', sid) >= DEAD_MS then
      call('HINCRBY', P .. 'repairs', 'unrun', 1)
      lose(sid, 'Its worker does not run it.')
    end
  end
end
local drained = call('HGET', P .. 'desired', name)
local able = ARGV[3] == 'ready' and not drained and order ~= 'closed'
local slots = tonumber(ARGV[4])
if holds then unhold(name, able and slots) end
set_free(name, able, slots, before > 0 and used() or 0, tonumber(late), order)
reap_a_little()

-- A room whose name became a session's is warm no more, whatever the worker has heard of it yet.
local warm, warm_key = {}, P .. 'warm:' .. name
call('DEL', warm_key)
for _, one in ipairs(ARGV[8] ~= '[]' and cjson.decode(ARGV[8]) or {}) do
  if call('EXISTS', P .. 's:' .. one[1]) == 0 then
    warm[#warm + 1] = one[1]
    if one[2] then call('RPUSH', warm_key, one[1]) end
  end
end
call('PEXPIRE', warm_key, LIVE_MS) -- of a worker that never says goodbye
return {'ok', drained or 'ready', cjson.encode(revoked), call('ZCARD', TURNS) > 0 and hand() or {},
  warm}
