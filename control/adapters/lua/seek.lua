-- Where a lesson is open, and how this cell and its peers stand.
-- ARGV: lesson digest, digest of its class or '', how many peers, peers...
-- Answers {own open session or '', best score of an alive worker or '', 1 if unwell, now ms,
-- "heard ms|JSON" or '' of each peer, "session|born ms" or '' of each peer, slots held for the class}.
-- A score is told without the order, which is this cell's own affair.
-- Invariant: changes nothing.
local own = call('GET', P .. 'lesson:' .. ARGV[1]) or ''
local patience = patient()
local best = ''
for page = 0, 3 do
  local heads = call('ZRANGE', P .. 'free', 8 * page, 8 * page + 7, 'REV', 'WITHSCORES')
  for i = 1, #heads, 2 do
    local heard = tonumber(call('ZSCORE', P .. 'hb', heads[i]))
    if heard and (patience or NOW - heard < DEAD_MS) then
      best = without_order(heads[i], heads[i + 1])
      break
    end
  end
  if best ~= '' or #heads < 16 then break end
end
local standings, owners = {}, {}
for i = 1, tonumber(ARGV[3]) do
  standings[i] = call('HGET', P .. 'peers', ARGV[i + 3]) or ''
  owners[i] = call('HGET', P .. 'peer:' .. ARGV[i + 3], ARGV[1]) or ''
end
return {own, best, call('EXISTS', P .. 'unwell'), string.format('%d', NOW), standings, owners,
  ARGV[2] ~= '' and call('ZCARD', P .. 'held:' .. ARGV[2]) or 0}
