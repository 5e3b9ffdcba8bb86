-- The records queue has these: session, sequence number, session, … One that changed since stays.
for i = 1, #ARGV - 1, 2 do
  if tonumber(call('ZSCORE', P .. 'outbox', ARGV[i]) or -1) == tonumber(ARGV[i + 1]) then
    call('ZREM', P .. 'outbox', ARGV[i])
  end
end
return 1
