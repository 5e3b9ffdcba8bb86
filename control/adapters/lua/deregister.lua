-- The worker leaves in order. ARGV: worker, registration
local name = ARGV[1]
local w = worker_of(name)
if not w then return 1 end
if w.reg ~= tonumber(ARGV[2]) then return 0 end
for _, sid in ipairs(redis.call('SMEMBERS', P .. 'on:' .. name)) do
  lose(sid, 'Its worker was shut down.')
end
redis.call('ZREM', P .. 'hb', name)
redis.call('ZREM', P .. 'free', name)
redis.call('HDEL', P .. 'w', name)
redis.call('HDEL', P .. 'desired', name)
return 1
