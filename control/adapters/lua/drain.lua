-- Fences a worker: no new lease from this moment. ARGV: 1 worker. Answers 0 for an unknown one.
if not worker_of(ARGV[1]) then return 0 end
call('HSET', P .. 'desired', ARGV[1], 'draining')
refresh(ARGV[1])
return 1
