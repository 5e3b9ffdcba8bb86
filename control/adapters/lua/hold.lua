-- Slots kept for a class. ARGV: 1 digest of the class, 2 tenant, 3 class, 4 how many, 5 until ms.
-- Answers how many are held now, sessions handed over.
-- Invariant: as many as that in all, the class's open sessions counted; asked again, only what is
-- missing is taken, and what is too much is given back. Each is a real lease, so that nobody else is
-- given its slot; it runs out by itself.
local class, key = ARGV[1], P .. 'held:' .. ARGV[1]
local until_ms = math.min(tonumber(ARGV[5]), NOW + 1000 * FINISHED_S)
local wanted = until_ms > NOW and tonumber(ARGV[4]) or 0
if wanted > 0 then know_class(class, ARGV[2], ARGV[3]) end
wanted = wanted - (tonumber(call('HGET', P .. 'class:' .. class, 'open')) or 0)
local ids = call('ZRANGE', key, 0, -1)
for i = #ids, 1, -1 do
  if i > wanted then
    drop(ids[i])
  else
    call('ZADD', EXP, until_ms, ids[i])
  end
end
for _ = #ids + 1, wanted do
  local chosen = choose('', {})
  if not chosen then break end
  local number = call('INCR', P .. 'holds')
  local id = 'h|' .. chosen[1] .. '|' .. class .. '|' .. string.format('%d', number)
  occupy(id, chosen, until_ms)
  call('ZADD', key, number, id)
  call('HINCRBY', HELD, chosen[1], 1)
end
return {call('ZCARD', key), hand()}
