-- Running sums of a day: told again they can only have grown, and may come in any order.
insert into costs (cell, region, day, pool, usd, slot_minutes, stream_minutes)
values (%(cell)s, %(region)s, %(day)s::date, %(pool)s, %(usd)s, %(slot_minutes)s,
        %(stream_minutes)s)
on conflict (cell, day, pool) do update set
  usd = greatest(costs.usd, excluded.usd),
  slot_minutes = greatest(costs.slot_minutes, excluded.slot_minutes),
  stream_minutes = greatest(costs.stream_minutes, excluded.stream_minutes)
