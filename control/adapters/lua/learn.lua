-- A class's attendance is learnt, once. ARGV: 1 the class, 2 its start (ms), 3 hour|tenant,
-- 4 learners announced, 5 learners that came, 6 what is left of former sums.
-- Answers 1, or 0 of one that was learnt before.
-- The sums are those of Attendance.learn in control/domain/fleet/timetable.py.
local KEPT_MS = 86400000 -- a class leaves the copy hours after its end
if call('ZADD', P .. 'attended', 'NX', ARGV[2], ARGV[1]) == 0 then return 0 end
local known = call('HGET', P .. 'attendance', ARGV[3]) or '0|0'
local announced, came = string.match(known, '^([^|]+)|([^|]+)$')
call('HSET', P .. 'attendance', ARGV[3], string.format('%.17g|%.17g',
  announced * ARGV[6] + ARGV[4], came * ARGV[6] + ARGV[5]))
call('ZREMRANGEBYSCORE', P .. 'attended', '-inf', NOW - KEPT_MS)
return 1
