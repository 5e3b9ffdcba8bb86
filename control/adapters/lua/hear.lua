-- A peer's summary. ARGV: peer, its standing as JSON, since, sequence, 1 if more follow, changes as
-- JSON [[lesson, session, born ms, over], ...], most doubles to answer
-- Answers {the sequence that is known now, doubles as JSON [[lesson, own session, born ms, status,
-- learners or -1, the peer's session, born ms], ...]}.
-- Invariant: peer:CELL is the peer's list of open lessons as of the known sequence. Changes with a
-- gap before them are not taken, older ones do no harm. Doubles are looked for when all is known.
local DIRECTORY_MS = 86400000
local name, since, sequence = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local lessons, twice = P .. 'peer:' .. name, P .. 'twice:' .. name
call('HSET', P .. 'peers', name, string.format('%d|%s', NOW, ARGV[2]))
local known = tonumber(call('HGET', P .. 'heardseq', name)) or 0
if call('HEXISTS', P .. 'heardseq', name) == 0 and since > 0 then return {0, '[]'} end
if since > known then return {known, '[]'} end
if since == 0 then
  call('DEL', lessons)
elseif sequence < known then
  return {known, '[]'}
end
for _, change in ipairs(cjson.decode(ARGV[6])) do
  local lesson, sid, entry = change[1], change[2], string.format('%s|%d', change[2], change[3])
  if not change[4] then
    call('HSET', lessons, lesson, entry)
    if call('EXISTS', P .. 'lesson:' .. lesson) == 1 then
      call('SADD', twice, lesson)
    end
  elseif string.match(call('HGET', lessons, lesson) or '', '^[^|]+') == sid then
    call('HDEL', lessons, lesson)
  end
end
call('HSET', P .. 'heardseq', name, sequence)
call('PEXPIRE', lessons, DIRECTORY_MS)
call('PEXPIRE', twice, DIRECTORY_MS)
local doubles = {}
if ARGV[5] == '1' then return {sequence, '[]'} end
for _, lesson in ipairs(call('SRANDMEMBER', twice, tonumber(ARGV[7]))) do
  local own = call('GET', P .. 'lesson:' .. lesson)
  local sid, born = string.match(call('HGET', lessons, lesson) or '', '^(.+)|(%d+)$')
  local s = own and call('HMGET', P .. 's:' .. own, 'created_ms', 'status')
  if sid and s and s[1] then
    local learners = tonumber(call('HGET', P .. 'in', own)) or -1
    doubles[#doubles + 1] = {lesson, own, tonumber(s[1]), s[2], learners, sid, tonumber(born)}
  else
    call('SREM', twice, lesson)
  end
end
return {sequence, #doubles > 0 and cjson.encode(doubles) or '[]'}
