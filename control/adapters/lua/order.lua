-- The planner's preference among workers. ARGV: worker, its order (a number that is added to its score,
-- or `closed`), worker, order, …
-- Answers {worker, its leases, worker, …} of those that are known, sessions handed over.
-- Invariant: a worker that is answered as closed and empty gets no lease until it is opened again,
-- for it is not among the free, and nothing is held on it. (A run on it that the store had forgotten
-- is adopted all the same.)
local leases = {}
for i = 1, #ARGV - 1, 2 do
  local name, order = ARGV[i], ARGV[i + 1]
  local slots, late, reg, state, was, avatars = worker_of(name)
  if slots then
    if order ~= was then
      call('HSET', WORKERS, name, worker_text(slots, late, reg, state, order, avatars))
      if order == 'closed' then unhold(name) end
      refresh(name)
    end
    leases[#leases + 1] = name
    leases[#leases + 1] = tonumber(call('HGET', USED, name)) or 0
  end
end
return {leases, hand()}
