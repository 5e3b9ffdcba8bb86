-- A worker that takes no lease now is never to take one again, if nobody is on it. ARGV: 1 worker.
-- Answers 1 of one that is drained or unknown as well; 0 while it is open or has a lease.
-- Invariant: the planner ends a node only after this said 1, and what this fenced cannot be opened
-- again: no lease comes between the look and the end.
local name = ARGV[1]
if (tonumber(call('HGET', USED, name)) or 0) > 0 then return 0 end
local slots, _, _, state, order = worker_of(name)
if not slots then return 1 end
local drained = call('HEXISTS', P .. 'desired', name) == 1
if not drained and order ~= 'closed' and state == 'ready' and slots > 0 and not dead(name) then
  return 0
end
call('HSET', P .. 'desired', name, 'draining')
refresh(name)
return 1
