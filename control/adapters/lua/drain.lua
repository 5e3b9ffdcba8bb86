-- Fences a worker: no new lease from this moment, and nothing is held on it any more.
-- ARGV: 1 worker. Answers 0 for an unknown one.
if not worker_of(ARGV[1]) then return 0 end
call('HSET', P .. 'desired', ARGV[1], 'draining')
unhold(ARGV[1])
refresh(ARGV[1])
return 1
