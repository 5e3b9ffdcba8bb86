-- A worker's new life: sessions of its former one are lost. ARGV: worker, JSON of what it is
local name = ARGV[1]
for _, sid in ipairs(redis.call('SMEMBERS', P .. 'on:' .. name)) do
  lose(sid, 'Its worker started anew.')
end
local w = cjson.decode(ARGV[2])
w.reg = redis.call('HINCRBY', P .. 'reg', name, 1)
w.state, w.slots, w.late, w.seen = 'warming', 0, 0, NOW
redis.call('HSET', P .. 'w', name, cjson.encode(w))
redis.call('HDEL', P .. 'desired', name)
forgiving()
announce(w.avatars)
redis.call('ZADD', P .. 'hb', NOW, name)
refresh(name)
return w.reg
