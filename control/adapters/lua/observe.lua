-- What the planner needs, at one moment.
-- Answers {now ms, leases, queued, grace until ms, [class as tenant, name, came, open, held, …],
-- then each as HGETALL: w, facts, used, held, desired; then hb with times}.
-- Invariant: changes nothing.
local classes = {}
local since = NOW - 1000 * FINISHED_S
for _, class in ipairs(call('ZRANGE', P .. 'classes', '(' .. since, '+inf', 'BYSCORE')) do
  local c = call('HMGET', P .. 'class:' .. class, 'tenant', 'class_id', 'came', 'open')
  if c[1] then
    for _, part in ipairs({c[1], c[2], c[3] or '0', c[4] or '0'}) do
      classes[#classes + 1] = part
    end
    classes[#classes + 1] = call('ZCARD', P .. 'held:' .. class)
  end
end
local answer = {string.format('%d', NOW), call('ZCARD', EXP), call('ZCARD', P .. 'tickets'),
  read_life()[2] or '0', classes}
for _, name in ipairs({'w', 'facts', 'used', 'held', 'desired'}) do
  answer[#answer + 1] = call('HGETALL', P .. name)
end
answer[#answer + 1] = call('ZRANGE', HB, 0, -1, 'WITHSCORES')
return answer
