-- The first frame was seen. ARGV: session, generation, lease ttl ms
local sid, generation = ARGV[1], tonumber(ARGV[2])
local key = P .. 's:' .. sid
local _, leased = lease_of(sid)
if leased ~= generation then return 0 end
redis.call('ZADD', P .. 'exp', NOW + tonumber(ARGV[3]), sid)
if redis.call('HGET', key, 'status') ~= 'live' then
  redis.call('HSET', key, 'status', 'live', 'live_ms', NOW)
  redis.call('HDEL', key, 'task_token')
  redis.call('ZREM', P .. 'starting', sid)
  record(sid)
end
return 1
