-- Stands in front of every script, after a line that sets NOW, the store's clock in ms.
-- docs/store.md names the keys and says what each step does; all begin with KEYS[1], "{cell}:", so
-- that they share one hash slot.
local P, call = KEYS[1], redis.call
local FREE, USED, LEASE, EXP, HB = P .. 'free', P .. 'used', P .. 'lease', P .. 'exp', P .. 'hb'
local WORKERS, STARTS, STARTING, TURNS = P .. 'w', P .. 'st', P .. 'starting', P .. 'turns'
local DEAD_MS, QUIET_MS, UNCONFIRMED_MS, LIVE_MS, TICKET_MS = 15000, 6000, 15000, 3600000, 30000
local FINISHED_S, START_CAP, HEADS, PAGES, MOST_QUEUED = 86400, 4, 8, 4, 10000
local MARGIN = 0.05
local OPEN = {queued = true, starting = true, live = true, moving = true}

-- slots, lateness (as text), registration, state, avatars; nothing of an unknown worker
local function worker_of(name)
  local raw = call('HGET', WORKERS, name)
  if not raw then return nil end
  local slots, late, reg, state, avatars = string.match(raw, '^(%d+)|([^|]+)|(%d+)|(%a+)|(.*)$')
  return tonumber(slots), late, tonumber(reg), state, avatars
end

local function put_worker(name, slots, late, reg, state, avatars)
  call('HSET', WORKERS, name, table.concat({slots, late, reg, state, avatars}, '|'))
end

-- The name of its process' life, and its URL, as it registered.
local function boot_and_url(name)
  return string.match(call('HGET', P .. 'facts', name) or '', '^(%S+) (%S+)')
end

-- The numbers of control/domain/placement.py, to six digits.
local function score(slots, used, late)
  local s = 0.3 * (1 - used / slots) + 0.2 * (1 - math.min(1, late / 40))
    + 0.1 * math.min(1, (slots - used) / 24)
  return string.format('%.6f', s)
end

-- Never oversell: a worker is free exactly while used < slots. Answers its registration.
local function refresh(name)
  local slots, late, reg, state = worker_of(name)
  local used = tonumber(call('HGET', USED, name)) or 0
  if slots and state == 'ready' and used < slots and call('HEXISTS', P .. 'desired', name) == 0
      and call('ZSCORE', HB, name) then
    call('ZADD', FREE, score(slots, used, tonumber(late)), name)
  else
    call('ZREM', FREE, name)
  end
  return reg
end

-- A gap in the store's own life (restart, failover) is not the workers' fault: when no worker was
-- heard for longer than a heartbeat takes, nobody is declared dead for one dead-interval. One quiet
-- time gives one such grace, else a fleet that died as a whole would be forgiven for ever.
local function patient()
  return (tonumber(call('HGET', P .. 'life', 'grace')) or 0) > NOW
end

-- `spoke`: a worker did.
local function forgiving(spoke)
  local life = call('HMGET', P .. 'life', 'heard', 'grace', 'excused')
  local heard, grace = tonumber(life[1]), tonumber(life[2]) or 0
  if not heard or NOW - heard > QUIET_MS then
    if not heard or life[3] ~= life[1] then
      grace = NOW + DEAD_MS
      call('HSET', P .. 'life', 'grace', grace)
    end
    if heard then call('HSET', P .. 'life', 'excused', heard) end
  end
  if spoke or not heard then call('HSET', P .. 'life', 'heard', NOW) end
  return grace > NOW
end

local function dead(name)
  local heard = tonumber(call('ZSCORE', HB, name))
  return not heard or (NOW - heard >= DEAD_MS and not patient())
end

local function lease_of(sid)
  local lease = call('HGET', LEASE, sid)
  if not lease then return nil, nil end
  local name, generation = string.match(lease, '^(.+)|(%d+)$')
  return name, tonumber(generation)
end

local function record(sid)
  call('ZADD', P .. 'outbox', call('INCR', P .. 'seq'), sid)
end

-- A counter that grows across a failover that forgot some, for it is never below the clock.
local function after_now(name)
  local last = tonumber(call('GET', P .. name)) or 0
  local number = last >= NOW and last + 1 or NOW
  call('SET', P .. name, number)
  return number
end

-- For peers: a lesson began or is over.
local function changed(lesson, sid, born, over)
  local seq = after_now('changeseq') -- else a peer takes new changes for old ones
  call('ZADD', P .. 'changes', seq, lesson .. '|' .. sid .. '|' .. born .. '|' .. over)
end

-- The best worker for the avatar, and what was looked at: `name:slots|late|…:used:starts:holds`, one
-- of each head, with spaces between. The distance is the same for every worker of a cell, so it does
-- not decide between them.
local function choose(avatar, excluded)
  local mine = ',' .. avatar .. ','
  for page = 0, PAGES - 1 do
    local heads = call('ZRANGE', FREE, page * HEADS, page * HEADS + HEADS - 1, 'REV', 'WITHSCORES')
    if #heads == 0 then break end
    local names = {}
    for i = 1, #heads, 2 do names[#names + 1] = heads[i] end
    local known, used = call('HMGET', WORKERS, unpack(names)), call('HMGET', USED, unpack(names))
    local starts = call('HMGET', STARTS, unpack(names))
    local heard = call('ZMSCORE', HB, unpack(names))
    local best, holder, capped, capped_holder
    local seen = {}
    for i, name in ipairs(names) do
      local alive = heard[i] and (NOW - heard[i] < DEAD_MS or patient())
      if alive and not excluded[name] then
        local points, begun = tonumber(heads[2 * i]), tonumber(starts[i]) or 0
        local stands, avatars = string.match(known[i], '^(%d+|[^|]+|%d+|%a+)|(.*)$')
        local holds = string.find(avatars, mine, 1, true) ~= nil
        seen[#seen + 1] = name .. ':' .. stands .. ':' .. (used[i] or '0') .. ':' .. begun .. ':'
          .. (holds and '1' or '0')
        if begun < START_CAP then
          best = best or {name, points}
          if holds and not holder and points >= best[2] - MARGIN then holder = name end
        else
          capped = capped or {name, points}
          if holds and not capped_holder and points >= capped[2] - MARGIN then
            capped_holder = name
          end
        end
      end
    end
    if #seen > 0 then
      local chosen = best and (holder or best[1]) or capped_holder or capped[1]
      return chosen, table.concat(seen, ' ')
    end
  end
  return nil, ''
end

-- The only way a slot is taken.
local function take(sid, name, seen, left_out)
  local generation = after_now('gen')
  call('HSET', LEASE, sid, name .. '|' .. generation)
  call('SADD', P .. 'on:' .. name, sid)
  call('ZADD', EXP, NOW + UNCONFIRMED_MS, sid)
  call('HINCRBY', USED, name, 1)
  call('HINCRBY', STARTS, name, 1)
  local reg = refresh(name)
  local _, url = boot_and_url(name)
  call('ZADD', STARTING, NOW, sid)
  call('HSET', P .. 's:' .. sid, 'status', 'starting', 'worker_id', name, 'generation', generation,
    'worker_url', url, 'worker_registration', reg,
    'chose', name .. '|' .. generation .. '|' .. NOW, 'heads', seen, 'left_out', left_out or '')
  call('HINCRBY', P .. 's:' .. sid, 'placements', 1)
  record(sid)
  return generation
end

local function less(hash, name)
  if call('HINCRBY', hash, name, -1) <= 0 then call('HDEL', hash, name) end
end

-- The only way a slot is given back; a second call finds no lease and does nothing.
local function drop(sid)
  local name = lease_of(sid)
  if not name then return end
  call('HDEL', LEASE, sid)
  call('ZREM', EXP, sid)
  call('HDEL', P .. 'miss', sid)
  call('HDEL', P .. 'in', sid)
  call('SREM', P .. 'on:' .. name, sid)
  less(USED, name)
  if call('HEXISTS', P .. 's:' .. sid, 'confirmed') == 0 then less(STARTS, name) end
  call('HDEL', P .. 's:' .. sid, 'confirmed')
  refresh(name)
end

-- The lease is a running stream's from now on, for an hour that heartbeats renew. The task token
-- stays until the setup asks: a heartbeat may come before the word of the first frame.
local function confirm(sid, name)
  call('ZADD', EXP, 'GT', NOW + LIVE_MS, sid)
  if call('HSETNX', P .. 's:' .. sid, 'confirmed', 1) == 1 then
    less(STARTS, name)
    call('HSET', P .. 's:' .. sid, 'status', 'live')
    call('HSETNX', P .. 's:' .. sid, 'live_ms', NOW)
    call('ZREM', STARTING, sid)
    record(sid)
  end
end

local function leave_queue(sid, tenant)
  call('ZREM', P .. 'tickets', sid)
  if call('ZREM', P .. 'q:' .. tenant, sid) == 1 and call('EXISTS', P .. 'q:' .. tenant) == 0 then
    call('ZREM', TURNS, tenant)
  end
end

-- The only way a session ends, whoever asks: client, webhook, worker, reaper, setup.
local function finish(sid, status, reason)
  local key = P .. 's:' .. sid
  drop(sid)
  local was = call('HMGET', key, 'status', 'tenant', 'lesson', 'created_ms')
  if not was[1] or not OPEN[was[1]] then return false end
  if was[1] == 'queued' then leave_queue(sid, was[2]) end
  call('HSET', key, 'status', status, 'ended_ms', NOW, 'reason', reason)
  call('HDEL', key, 'own_room_token')
  call('EXPIRE', key, FINISHED_S)
  call('ZREM', STARTING, sid)
  less(P .. 'open', was[2])
  if was[3] then
    local lesson = P .. 'lesson:' .. was[3]
    if call('GET', lesson) == sid then call('DEL', lesson) end
    changed(was[3], sid, was[4], 1)
  end
  record(sid)
  return true
end

-- A lease is lost (it ran out, or its worker is gone): a session that still starts is placed again
-- by its setup, any other one has ended.
local function lose(sid, reason)
  if call('HGET', P .. 's:' .. sid, 'status') == 'starting' then
    drop(sid)
  else
    finish(sid, 'failed', reason)
  end
end

-- Bounded work: at most `limit` tickets, leases and silent workers' sessions a call.
local function reap(limit)
  local forgive = forgiving(false)
  for _, sid in ipairs(call('ZRANGE', P .. 'tickets', '-inf', NOW, 'BYSCORE', 'LIMIT', 0, limit)) do
    finish(sid, 'failed', 'Nobody asked for its place any more.')
  end
  for _, sid in ipairs(call('ZRANGE', EXP, '-inf', NOW, 'BYSCORE', 'LIMIT', 0, limit)) do
    lose(sid, 'Its lease ran out.')
  end
  local silent = call('ZRANGE', HB, '-inf', NOW - DEAD_MS, 'BYSCORE', 'LIMIT', 0, 5)
  if forgive or #silent == 0 then return end
  for _, name in ipairs(silent) do
    for _, sid in ipairs(call('SRANDMEMBER', P .. 'on:' .. name, limit)) do
      lose(sid, 'Its worker stopped answering.')
    end
    call('ZREM', FREE, name)
    if call('EXISTS', P .. 'on:' .. name) == 0 then call('ZREM', HB, name) end
  end
end

local function queue_is_full()
  return call('ZCARD', P .. 'tickets') >= MOST_QUEUED
end

-- First born, first served within a tenant; tenants by weighted turns of virtual time.
local function enqueue(sid, tenant, weight, birth)
  call('ZADD', P .. 'q:' .. tenant, birth, sid)
  call('ZADD', TURNS, 'NX', call('GET', P .. 'turn') or 0, tenant)
  call('HSET', P .. 'weights', tenant, weight)
  call('ZADD', P .. 'tickets', NOW + TICKET_MS, sid)
end

local function keep_pace()
  local before = call('HMGET', P .. 'pace', 'at', 'ms')
  if before[1] then
    local passed = NOW - before[1]
    call('HSET', P .. 'pace', 'ms', before[2] and 0.8 * before[2] + 0.2 * passed or passed)
  end
  call('HSET', P .. 'pace', 'at', NOW)
end

-- A freed slot goes to the head of the queue in the very step that frees it; the sessions that got
-- one are answered, to be driven.
local function hand()
  local handed = {}
  for _ = 1, 8 do
    local head = call('ZRANGE', TURNS, 0, 0, 'WITHSCORES')
    if not head[1] then break end
    local tenant = head[1]
    local sid = call('ZRANGE', P .. 'q:' .. tenant, 0, 0)[1]
    local chosen, seen = choose(call('HGET', P .. 's:' .. sid, 'avatar'), {})
    if not chosen then break end
    leave_queue(sid, tenant)
    call('SET', P .. 'turn', head[2])
    local weight = tonumber(call('HGET', P .. 'weights', tenant)) or 1
    call('ZADD', TURNS, 'XX', 'INCR', 1 / weight, tenant)
    keep_pace()
    take(sid, chosen, seen)
    handed[#handed + 1] = sid
  end
  return handed
end
