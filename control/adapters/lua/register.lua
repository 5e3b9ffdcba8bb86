-- A worker's new life: sessions of its former one are lost. The same life again, told twice or because
-- the store forgot it, loses nothing. ARGV: 1 worker, 2 its facts (JSON),
-- 3 digest of its hardware, 4 that hardware (JSON), 5 avatars with commas around each, 6 its URL,
-- 7 boot, the name of this life.
-- Answers the registration; older ones are refused from now on.
local name = ARGV[1]
if boot_and_url(name) == ARGV[7] then
  local _, _, same = worker_of(name)
  if same then return same end
else
  for _, sid in ipairs(call('SMEMBERS', P .. 'on:' .. name)) do
    lose(sid, 'Its worker started anew.')
  end
end
local registration = after_now('registrations')
call('HSET', WORKERS, name, worker_text(0, 0, registration, 'warming', 0, ARGV[5]))
call('HSET', P .. 'facts', name, ARGV[7] .. ' ' .. ARGV[6] .. ' ' .. ARGV[2])
call('HSET', P .. 'hw', ARGV[3], ARGV[4])
for avatar in string.gmatch(ARGV[5], '[^,~]+') do call('SADD', P .. 'avatars', avatar) end
call('HDEL', P .. 'desired', name)
call('DEL', P .. 'warm:' .. name)
forgiving(true)
call('ZADD', HB, NOW, name)
refresh(name)
return registration
