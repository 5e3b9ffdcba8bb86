-- A worker's new life: sessions of its former one are lost, unless the same process resumes because
-- the store forgot it. ARGV: 1 worker, 2 its facts (JSON),
-- 3 digest of its hardware, 4 that hardware (JSON), 5 avatars with commas around each, 6 its URL,
-- 7 resumes: 1 or 0.
-- Answers the registration; older ones are refused from now on.
local name = ARGV[1]
if ARGV[7] == '0' then
  for _, sid in ipairs(call('SMEMBERS', P .. 'on:' .. name)) do
    lose(sid, 'Its worker started anew.')
  end
end
local registration = call('HINCRBY', P .. 'reg', name, 1)
call('HSET', WORKERS, name, '0|0|' .. registration .. '|warming')
call('HSET', P .. 'facts', name, ARGV[2])
call('HSET', P .. 'url', name, ARGV[6])
call('HSET', P .. 'hw', ARGV[3], ARGV[4])
call('HSET', P .. 'av', name, ARGV[5])
for avatar in string.gmatch(ARGV[5], '[^,]+') do call('SADD', P .. 'avatars', avatar) end
call('HDEL', P .. 'desired', name)
forgiving(true)
call('ZADD', HB, NOW, name)
refresh(name)
return registration
