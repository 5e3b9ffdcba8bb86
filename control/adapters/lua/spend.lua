-- Requests of one tenant, counted by the second. ARGV: 1 tenant, 2 most a second.
-- Answers 0, or after how many ms to ask again.
local key = P .. 'rate:' .. ARGV[1] .. ':' .. math.floor(NOW / 1000)
local count = call('INCR', key)
if count == 1 then call('EXPIRE', key, 2) end
return count <= tonumber(ARGV[2]) and 0 or 1000 - NOW % 1000
