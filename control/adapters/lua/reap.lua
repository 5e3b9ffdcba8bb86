reap(tonumber(ARGV[1]))
return redis.call('ZRANGE', P .. 'starting', 0, NOW - tonumber(ARGV[2]), 'BYSCORE', 'LIMIT', 0, 50)
