-- What a peer is to be told. ARGV: peer, most changes
-- Answers {free slots, best score or '', 1 if unwell, since, sequence, 1 if more, {change, ...}};
-- a change is "lesson|session|born ms|over".
-- Invariant: the changes between the acknowledged sequence and the answered one are all there, or
-- since is 0. A lesson told here that the peer has as well becomes a suspect, looked into when the
-- peer is heard next. Free slots are exact for the best 256 workers; more count one each.
local peer, most = ARGV[1], tonumber(ARGV[2])
local patience = patient()
local free, best = 0, ''
local heads = call('ZRANGE', P .. 'free', 0, 255, 'REV', 'WITHSCORES')
for i = 1, #heads, 2 do
  local heard = tonumber(call('ZSCORE', P .. 'hb', heads[i]))
  if heard and (patience or NOW - heard < DEAD_MS) then
    if best == '' then best = without_order(heads[i], heads[i + 1]) end
    local slots = string.match(call('HGET', P .. 'w', heads[i]) or '', '^(%d+)|')
    local used = call('HGET', P .. 'used', heads[i])
    free = free + (tonumber(slots) or 0) - (tonumber(used) or 0)
  end
end
free = free + math.max(0, call('ZCARD', P .. 'free') - 256)

local top = tonumber(call('GET', P .. 'changeseq')) or 0
local since = tonumber(call('HGET', P .. 'acked', peer)) or 0
local oldest = call('ZRANGE', P .. 'changes', 0, 0, 'WITHSCORES')[2]
-- a store that lost its end, or changes that are gone: the whole list
if since > top or (oldest and since + 1 < tonumber(oldest)) then since = 0 end
local found = call('ZRANGE', P .. 'changes', '(' .. since, '+inf', 'BYSCORE',
  'LIMIT', 0, most + 1, 'WITHSCORES')
local more = #found > 2 * most
local changes, sequence = {}, top
for i = 1, math.min(#found, 2 * most), 2 do
  changes[#changes + 1] = found[i]
  if more then sequence = tonumber(found[i + 1]) end
  local lesson = string.match(found[i], '^(%x+)|.*|0$')
  if lesson and call('HEXISTS', P .. 'peer:' .. peer, lesson) == 1 then
    call('SADD', P .. 'twice:' .. peer, lesson)
  end
end
return {free, best, call('EXISTS', P .. 'unwell'), since, sequence, more and 1 or 0, changes}
