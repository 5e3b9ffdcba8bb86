-- The worker leaves in order. ARGV: 1 worker, 2 registration. Answers 0 to an older instance.
local name = ARGV[1]
local slots, _, reg = worker_of(name)
if not slots then return 1 end
if reg > tonumber(ARGV[2]) then return 0 end
for _, sid in ipairs(call('SMEMBERS', P .. 'on:' .. name)) do
  lose(sid, 'Its worker was shut down.')
end
call('ZREM', HB, name)
call('ZREM', FREE, name)
call('DEL', P .. 'warm:' .. name)
for _, hash in ipairs({'w', 'facts', 'desired'}) do call('HDEL', P .. hash, name) end
return 1
