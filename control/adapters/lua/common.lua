-- Stands in front of every script, after a line that sets NOW, the store's clock in ms.
-- docs/store.md names the keys and says what each step does; all begin with KEYS[1], "{cell}:", so
-- that they share one hash slot.
local P, call = KEYS[1], redis.call
local FREE, USED, EXP, HB = P .. 'free', P .. 'used', P .. 'exp', P .. 'hb'
local WORKERS, STARTS, STARTING, TURNS = P .. 'w', P .. 'st', P .. 'starting', P .. 'turns'
local HELD = P .. 'held'
local DEAD_MS, QUIET_MS, UNCONFIRMED_MS, LIVE_MS, TICKET_MS = 15000, 6000, 15000, 3600000, 30000
local FINISHED_S, START_CAP, HEADS, PAGES, MOST_QUEUED = 86400, 4, 8, 4, 10000
local REAP_EVERY_MS, HEARD_EVERY_MS = 100, 1000
local MARGIN = 0.05
local OPEN = {queued = true, starting = true, live = true, moving = true}

-- slots, lateness (as text), registration, state, order (as text, or `closed`), avatars; nothing of an
-- unknown worker. `raw` spares a look where it is known. A text without an order was written by the
-- functions of before a deploy; its worker runs on.
local function worker_of(name, raw)
  raw = raw or call('HGET', WORKERS, name)
  if not raw then return nil end
  local slots, late, reg, state, order, avatars =
    string.match(raw, '^(%d+)|([^|]+)|(%d+)|(%a+)|?([^|,]*)|(.*)$')
  return tonumber(slots), late, tonumber(reg), state, order ~= '' and order or '0', avatars
end

local function worker_text(slots, late, reg, state, order, avatars)
  return table.concat({slots, late, reg, state, order, avatars}, '|')
end

-- The name of its process' life, and its URL, as it registered.
local function boot_and_url(name)
  return string.match(call('HGET', P .. 'facts', name) or '', '^(%S+) (%S+)')
end

-- The numbers of control/domain/placement.py, to six digits.
local function score(slots, used, late, order)
  local s = 0.3 * (1 - used / slots) + 0.2 * (1 - math.min(1, late / 40))
    + 0.1 * math.min(1, (slots - used) / 24) + (tonumber(order) or 0)
  return string.format('%.6f', s)
end

-- A worker's score for others than this cell, to whom its order says nothing.
local function without_order(name, points)
  local order = select(5, worker_of(name))
  return string.format('%.6f', points - (tonumber(order) or 0))
end

-- Never oversell: a worker is free exactly while used < slots. `able`: ready, neither drained nor
-- closed, alive.
local function set_free(name, able, slots, used, late, order)
  if able and used < slots then
    call('ZADD', FREE, score(slots, used, late, order), name)
  else
    call('ZREM', FREE, name)
  end
end

-- `used` spares a look where it is known.
local function refresh(name, used)
  local slots, late, _, state, order = worker_of(name)
  used = used or tonumber(call('HGET', USED, name)) or 0
  local able = slots and state == 'ready' and order ~= 'closed'
    and call('HEXISTS', P .. 'desired', name) == 0 and call('ZSCORE', HB, name)
  set_free(name, able, slots, used, tonumber(late), order)
end

local life -- as read in this call
local function read_life()
  life = life or call('HMGET', P .. 'life', 'heard', 'grace', 'excused', 'reaped')
  return life
end

-- A gap in the store's own life (restart, failover) is not the workers' fault: when no worker was
-- heard for longer than a heartbeat takes, nobody is declared dead for one dead-interval. One quiet
-- time gives one such grace, else a fleet that died as a whole would be forgiven for ever.
local function patient()
  return (tonumber(read_life()[2]) or 0) > NOW
end

-- `spoke`: a worker did, which is noted once a second.
local function forgiving(spoke)
  local known = read_life()
  local heard, grace = tonumber(known[1]), tonumber(known[2]) or 0
  if not heard or NOW - heard > QUIET_MS then
    if not heard or known[3] ~= known[1] then
      grace = NOW + DEAD_MS
      call('HSET', P .. 'life', 'grace', grace)
    end
    if heard then call('HSET', P .. 'life', 'excused', heard) end
    life = nil
  end
  if not heard or (spoke and NOW - heard >= HEARD_EVERY_MS) then
    call('HSET', P .. 'life', 'heard', NOW)
    life = nil
  end
  return grace > NOW
end

local function dead(name)
  local heard = tonumber(call('ZSCORE', HB, name))
  return not heard or (NOW - heard >= DEAD_MS and not patient())
end

-- Worker and generation; nothing of a session without a lease. A lease is there as long as its
-- deadline is, whatever the session's record says.
local function lease_of(sid)
  if not call('ZSCORE', EXP, sid) then return nil, nil end
  local s = call('HMGET', P .. 's:' .. sid, 'worker_id', 'generation')
  return s[1], tonumber(s[2])
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

-- Of some heads, best first, the one for the avatar: {name, score, how it stands}; and what was looked
-- at: `name:slots|late|…:used:starts:holds`, one of each that may be had, with spaces between. The
-- distance is the same for every worker of a cell, so it does not decide between them. `given`: slots
-- of each that count as free.
local function best_of(names, scores, avatar, excluded, given)
  local mine = ',' .. avatar .. ','
  local known, used = call('HMGET', WORKERS, unpack(names)), call('HMGET', USED, unpack(names))
  local starts = call('HMGET', STARTS, unpack(names))
  local heard = call('ZMSCORE', HB, unpack(names))
  local best, holder, capped, capped_holder
  local seen = {}
  for i, name in ipairs(names) do
    local alive = heard[i] and (NOW - heard[i] < DEAD_MS or patient())
    if alive and not excluded[name] then
      local points, begun = scores[i], tonumber(starts[i]) or 0
      local stands, avatars = string.match(known[i], '^(%d+|[^|]+|%d+|%a+|?[^|,]*)|(.*)$')
      local holds = string.find(avatars, mine, 1, true) ~= nil
      local taken = used[i] or '0'
      if given > 0 then taken = taken - given end
      seen[#seen + 1] = name .. ':' .. stands .. ':' .. taken .. ':' .. begun .. ':'
        .. (holds and '1' or '0')
      local head = {name, points, stands}
      if begun < START_CAP then
        best = best or head
        if holds and not holder and points >= best[2] - MARGIN then holder = head end
      else
        capped = capped or head
        if holds and not capped_holder and points >= capped[2] - MARGIN then
          capped_holder = head
        end
      end
    end
  end
  if #seen == 0 then return nil, '' end
  return best and (holder or best) or capped_holder or capped, table.concat(seen, ' ')
end

-- The best free worker for the avatar, as best_of answers.
local function choose(avatar, excluded)
  for page = 0, PAGES - 1 do
    local heads = call('ZRANGE', FREE, page * HEADS, page * HEADS + HEADS - 1, 'REV', 'WITHSCORES')
    if #heads == 0 then break end
    local names, scores = {}, {}
    for i = 1, #heads, 2 do
      names[#names + 1], scores[#scores + 1] = heads[i], tonumber(heads[i + 1])
    end
    local chosen, seen = best_of(names, scores, avatar, excluded, 0)
    if chosen then return chosen, seen end
  end
  return nil, ''
end

-- Worker, class and number of a held slot's lease, by its name; nothing of a session, whose name
-- begins with s.
local function held_by(id)
  if string.byte(id) ~= 104 then return nil end
  local name, class, number = string.match(id, '^h|([^|]+)|([^|]+)|(%d+)$')
  return name, class, tonumber(number)
end

-- The best worker with a slot held for the class, as best_of answers, and with it the lease to be
-- given for it. Of a worker that drains or is closed nothing is held, so every one that lives will do.
local function choose_held(class, avatar, excluded)
  local found, heads = {}, {}
  for _, id in ipairs(call('ZRANGE', P .. 'held:' .. class, 0, -1)) do
    local name = held_by(id)
    if #heads < HEADS and not found[name] and not excluded[name] and not dead(name) then
      local slots, late, _, _, order = worker_of(name)
      local points = tonumber(score(slots, call('HGET', USED, name) - 1, tonumber(late), order))
      found[name], heads[#heads + 1] = id, {name, points}
    end
  end
  if #heads == 0 then return nil, '' end
  table.sort(heads, function(a, b)
    if a[2] == b[2] then return a[1] > b[1] end
    return a[2] > b[2]
  end)
  local names, scores = {}, {}
  for i, head in ipairs(heads) do names[i], scores[i] = head[1], head[2] end
  local chosen, seen = best_of(names, scores, avatar, excluded, 1)
  chosen[4] = found[chosen[1]]
  return chosen, seen
end

local function less(hash, name)
  local left = call('HINCRBY', hash, name, -1)
  if left <= 0 then call('HDEL', hash, name) end
  return math.max(0, left)
end

-- The only way a slot is given back; a second call finds no lease and does nothing.
local function drop(sid)
  if call('ZREM', EXP, sid) == 0 then return end
  local name, class = held_by(sid)
  if name then
    call('ZREM', P .. 'held:' .. class, sid)
    less(HELD, name)
  else
    local key = P .. 's:' .. sid
    name = call('HGET', key, 'worker_id')
    if call('HDEL', key, 'confirmed') == 1 then
      call('HDEL', P .. 'miss', sid)
      call('HDEL', P .. 'in', sid)
    else
      less(STARTS, name)
    end
  end
  call('SREM', P .. 'on:' .. name, sid)
  refresh(name, less(USED, name))
end

-- The only way a slot is taken, for a session or to be held.
local function occupy(id, chosen, until_ms)
  local name = chosen[1]
  local slots, late, reg, order = string.match(chosen[3], '^(%d+)|([^|]+)|(%d+)|%a+|?(.*)$')
  call('SADD', P .. 'on:' .. name, id)
  call('ZADD', EXP, until_ms, id)
  set_free(name, true, tonumber(slots), call('HINCRBY', USED, name, 1), tonumber(late), order)
  return reg
end

-- The slot becomes the session's. `placements` counts this one; `more` are fields that a new session
-- has besides.
local function take(sid, chosen, seen, placements, left_out, more)
  if chosen[4] then drop(chosen[4]) end
  local name, generation = chosen[1], after_now('gen')
  local reg = occupy(sid, chosen, NOW + UNCONFIRMED_MS)
  call('HINCRBY', STARTS, name, 1)
  local _, url = boot_and_url(name)
  call('ZADD', STARTING, NOW, sid)
  call('HSET', P .. 's:' .. sid, 'status', 'starting', 'worker_id', name, 'generation', generation,
    'worker_url', url, 'worker_registration', reg,
    'chose', name .. '|' .. generation .. '|' .. NOW .. (chosen[4] and '|held' or ''),
    'heads', seen, 'left_out', left_out, 'placements', placements, unpack(more))
  record(sid)
end

-- What is known of a class is forgotten a day after it was heard of last.
local function know_class(class, tenant, class_id)
  local key = P .. 'class:' .. class
  call('HSET', key, 'tenant', tenant, 'class_id', class_id)
  call('EXPIRE', key, FINISHED_S)
  call('ZADD', P .. 'classes', NOW, class)
end

-- Held slots of a worker go, the youngest first: all, or until no more than `slots` are used.
local function unhold(name, slots)
  local ids = {}
  for _, id in ipairs(call('SMEMBERS', P .. 'on:' .. name)) do
    if held_by(id) then ids[#ids + 1] = id end
  end
  table.sort(ids, function(a, b) return select(3, held_by(a)) > select(3, held_by(b)) end)
  for _, id in ipairs(ids) do
    if slots and tonumber(call('HGET', USED, name)) <= slots then break end
    drop(id)
  end
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
  local was =
    call('HMGET', key, 'status', 'tenant', 'lesson', 'created_ms', 'own_room_token', 'class')
  if not was[1] or not OPEN[was[1]] then return false end
  if was[1] == 'queued' then leave_queue(sid, was[2]) end
  if was[1] == 'starting' then call('ZREM', STARTING, sid) end
  call('HSET', key, 'status', status, 'ended_ms', NOW, 'reason', reason)
  if was[5] then call('HDEL', key, 'own_room_token') end
  call('EXPIRE', key, FINISHED_S)
  less(P .. 'open', was[2])
  if was[6] and call('EXISTS', P .. 'class:' .. was[6]) == 1 then
    call('HINCRBY', P .. 'class:' .. was[6], 'open', -1)
  end
  if was[3] then
    local lesson = P .. 'lesson:' .. was[3]
    if call('GET', lesson) == sid then call('DEL', lesson) end
    changed(was[3], sid, was[4], 1)
  end
  record(sid)
  return true
end

-- A lease is lost (it ran out, or its worker is gone): a held slot is nobody's, a session that still
-- starts is placed again by its setup, any other one has ended.
local function lose(sid, reason)
  if held_by(sid) or call('HGET', P .. 's:' .. sid, 'status') == 'starting' then
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

-- By what others ask: some of it, now and then.
local function reap_a_little()
  local since = NOW - (tonumber(read_life()[4]) or 0)
  if since >= 0 and since < REAP_EVERY_MS then return end
  call('HSET', P .. 'life', 'reaped', NOW)
  reap(20)
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
    local s = call('HMGET', P .. 's:' .. sid, 'avatar', 'placements', 'class')
    local chosen, seen
    if s[3] then chosen, seen = choose_held(s[3], s[1], {}) end
    if not chosen then chosen, seen = choose(s[1], {}) end
    if not chosen then break end
    leave_queue(sid, tenant)
    call('SET', P .. 'turn', head[2])
    local weight = tonumber(call('HGET', P .. 'weights', tenant)) or 1
    call('ZADD', TURNS, 'XX', 'INCR', 1 / weight, tenant)
    keep_pace()
    take(sid, chosen, seen, (tonumber(s[2]) or 0) + 1, '', {})
    handed[#handed + 1] = sid
  end
  return handed
end
