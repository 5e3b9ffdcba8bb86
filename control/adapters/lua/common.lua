-- Shared by every script; stands in front of each. KEYS[1] is the cell's prefix "{cell}:", so all
-- keys share one hash tag and one slot.
--   free      zset  worker -> score without geography; eligible workers only
--   used      hash  worker -> leases; written by take() and drop() alone
--   w         hash  worker -> JSON as registered and heard last; written by register/heartbeat alone
--   desired   hash  worker -> state an operator asked for
--   lease     hash  session -> "worker|generation"
--   on:W      set   sessions leased on worker W
--   exp       zset  session -> deadline, ms
--   hb        zset  worker -> last heard, ms
--   gen       int   fencing numbers, never repeated
--   s:SID     hash  the session
--   avatars   set   every avatar a worker of this cell ever announced
--   starting  zset  session -> since, ms
--   sessions  zset  session -> first generation, so in order of birth; tenant:T those of one tenant
--   outbox    zset  snapshot -> sequence number, until the records queue has it
local P = KEYS[1]
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local DEAD_MS = 15000
local FINISHED_S = 86400
local OPEN = {queued = true, starting = true, live = true, moving = true}

local function worker_of(name)
  local raw = redis.call('HGET', P .. 'w', name)
  return raw and cjson.decode(raw)
end

-- A gap in the store's own life (restart, failover) is not the workers' fault: when nobody was
-- heard for a dead-interval, nobody is declared dead for another one.
local function forgiving()
  local heard = tonumber(redis.call('GET', P .. 'heard'))
  if not heard or NOW - heard > DEAD_MS then
    redis.call('SET', P .. 'grace', NOW + DEAD_MS, 'PX', DEAD_MS)
  end
  redis.call('SET', P .. 'heard', NOW)
  return redis.call('EXISTS', P .. 'grace') == 1
end

-- The very numbers of control/domain/placement.py.
local function terms(w, used)
  return 1 - used / w.slots, 1 - math.min(1, w.late / 40), math.min(1, (w.slots - used) / 24)
end

local function announce(avatars)
  for avatar in string.gmatch(avatars, '[^,]+') do redis.call('SADD', P .. 'avatars', avatar) end
end

-- Puts a worker among the free ones, or takes it out. Never oversell: used < slots is kept here.
local function refresh(name)
  local w = worker_of(name)
  local used = tonumber(redis.call('HGET', P .. 'used', name)) or 0
  local asked = redis.call('HGET', P .. 'desired', name)
  if w and w.state == 'ready' and asked ~= 'draining' and used < w.slots
      and redis.call('ZSCORE', P .. 'hb', name) then
    local load, performance, capacity = terms(w, used)
    local score = 0.3 * load + 0.2 * performance + 0.1 * capacity
    redis.call('ZADD', P .. 'free', string.format('%.6f', score), name)
  else
    redis.call('ZREM', P .. 'free', name)
  end
end

-- Best of the first eligible page of eight heads; returns the choice and what was considered.
local function choose(avatar, distance, excluded, margin)
  local seen, best = {}, nil
  for page = 0, 3 do
    local heads = redis.call('ZRANGE', P .. 'free', page * 8, page * 8 + 7, 'REV')
    for _, name in ipairs(heads) do
      local heard = tonumber(redis.call('ZSCORE', P .. 'hb', name)) or 0
      local patience = redis.call('EXISTS', P .. 'grace') == 1
      local w = worker_of(name)
      if w and not excluded[name] and (patience or NOW - heard <= DEAD_MS) then
        local used = tonumber(redis.call('HGET', P .. 'used', name)) or 0
        local load, performance, capacity = terms(w, used)
        local one = {
          worker_id = name, region = w.region, distance = distance, load = load,
          performance = performance, capacity = capacity, url = w.url, reg = w.reg,
          score = 0.4 * distance + 0.3 * load + 0.2 * performance + 0.1 * capacity,
          holds_avatar = string.find(',' .. w.avatars .. ',', ',' .. avatar .. ',', 1, true) ~= nil,
        }
        seen[#seen + 1] = one
      end
    end
    if #seen > 0 or #heads < 8 then break end
  end
  table.sort(seen, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.worker_id < b.worker_id
  end)
  for _, one in ipairs(seen) do
    if one.score < seen[1].score - margin then break end
    if one.holds_avatar then best = one break end
  end
  return best or seen[1], seen
end

-- The only way a slot is taken.
local function take(sid, name, ttl_ms)
  local generation = redis.call('INCR', P .. 'gen')
  redis.call('HSET', P .. 'lease', sid, name .. '|' .. generation)
  redis.call('SADD', P .. 'on:' .. name, sid)
  redis.call('ZADD', P .. 'exp', NOW + ttl_ms, sid)
  redis.call('HINCRBY', P .. 'used', name, 1)
  refresh(name)
  return generation
end

local function lease_of(sid)
  local lease = redis.call('HGET', P .. 'lease', sid)
  if not lease then return nil, nil end
  local name, generation = string.match(lease, '^(.+)|(%d+)$')
  return name, tonumber(generation)
end

-- The only way a slot is given back; a second call finds no lease and does nothing.
local function drop(sid)
  local name = lease_of(sid)
  if not name then return false end
  redis.call('HDEL', P .. 'lease', sid)
  redis.call('ZREM', P .. 'exp', sid)
  redis.call('SREM', P .. 'on:' .. name, sid)
  if redis.call('HINCRBY', P .. 'used', name, -1) <= 0 then
    redis.call('HDEL', P .. 'used', name)
  end
  refresh(name)
  return true
end

-- A snapshot of the session for the record, in the same step as the change itself.
local function record(sid)
  local names = {'tenant', 'lesson_id', 'avatar', 'status', 'region', 'worker_id', 'generation',
    'created_ms', 'live_ms', 'ended_ms', 'reason'}
  local values = redis.call('HMGET', P .. 's:' .. sid, unpack(names))
  local row = {session_id = sid, seq = redis.call('INCR', P .. 'seq')}
  for i, name in ipairs(names) do row[name] = values[i] or nil end
  redis.call('ZADD', P .. 'outbox', row.seq, cjson.encode(row))
end

-- The only way a session ends, whoever asks: client, webhook, worker, reaper, setup.
local function finish(sid, status, reason)
  local key = P .. 's:' .. sid
  drop(sid)
  local was = redis.call('HMGET', key, 'status', 'lesson_key')
  if not was[1] or not OPEN[was[1]] then return false end
  redis.call('HSET', key, 'status', status, 'ended_ms', NOW, 'reason', reason)
  redis.call('HDEL', key, 'own_room_token')
  redis.call('EXPIRE', key, FINISHED_S)
  redis.call('ZREM', P .. 'starting', sid)
  if was[2] and redis.call('GET', was[2]) == sid then redis.call('DEL', was[2]) end
  record(sid)
  return true
end

-- A lease is lost (it ran out, or its worker is gone): a session that still starts is placed again
-- by its setup, any other one has ended.
local function lose(sid, reason)
  if redis.call('HGET', P .. 's:' .. sid, 'status') == 'starting' then
    drop(sid)
  else
    finish(sid, 'failed', reason)
  end
end

-- A little at a time: at most `limit` leases a call.
local function reap(limit)
  for _, sid in ipairs(redis.call('ZRANGE', P .. 'exp', 0, NOW, 'BYSCORE', 'LIMIT', 0, limit)) do
    lose(sid, 'Its lease ran out.')
  end
  if forgiving() then return end
  local silent = redis.call('ZRANGE', P .. 'hb', 0, NOW - DEAD_MS, 'BYSCORE', 'LIMIT', 0, 5)
  for _, name in ipairs(silent) do
    for _, sid in ipairs(redis.call('SMEMBERS', P .. 'on:' .. name)) do
      lose(sid, 'Its worker stopped answering.')
    end
    redis.call('ZREM', P .. 'hb', name)
    redis.call('ZREM', P .. 'free', name)
  end
end
