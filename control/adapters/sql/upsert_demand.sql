-- A bin of five minutes, told once it is whole; told again it can only have been more.
insert into demand (cell, region, start_at, live, other)
values (%(cell)s, %(region)s, to_timestamp(%(start_s)s), %(live)s, %(other)s)
on conflict (cell, start_at) do update set
  live = greatest(demand.live, excluded.live), other = greatest(demand.other, excluded.other)
