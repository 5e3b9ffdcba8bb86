-- No new lease from this moment. ARGV: worker
if not worker_of(ARGV[1]) then return 0 end
redis.call('HSET', P .. 'desired', ARGV[1], 'draining')
refresh(ARGV[1])
return 1
