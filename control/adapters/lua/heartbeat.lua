-- ARGV: worker, registration, JSON {state, slots, avatars, late, running: [[session, generation,
-- live]]}, lease ttl ms. Never writes `used`: leases alone decide that.
local name, heard = ARGV[1], cjson.decode(ARGV[3])
local w = worker_of(name)
if not w or w.reg ~= tonumber(ARGV[2]) then return {'stale', '', ''} end
forgiving()
if w.avatars ~= heard.avatars then announce(heard.avatars) end
w.state, w.slots, w.avatars, w.seen = heard.state, heard.slots, heard.avatars, NOW
w.late = 0.7 * w.late + 0.3 * heard.late
w.running = #heard.running
redis.call('HSET', P .. 'w', name, cjson.encode(w))
redis.call('ZADD', P .. 'hb', NOW, name)
local revoked = {}
for _, one in ipairs(heard.running) do
  local on, generation = lease_of(one[1])
  if on ~= name or generation ~= one[2] then
    revoked[#revoked + 1] = one
  elseif one[3] and redis.call('HGET', P .. 's:' .. one[1], 'status') == 'live' then
    redis.call('ZADD', P .. 'exp', 'GT', NOW + tonumber(ARGV[4]), one[1])
  end
end
refresh(name)
reap(50)
return {'ok', redis.call('HGET', P .. 'desired', name) or 'ready', cjson.encode(revoked)}
