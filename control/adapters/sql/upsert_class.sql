insert into timetable (tenant, class_id, start_at, end_at, expected, shares, hold, hold_s)
values (%(tenant)s, %(class_id)s, to_timestamp(%(start_s)s), to_timestamp(%(end_s)s),
        %(expected)s, %(shares)s::jsonb, %(hold)s, %(hold_s)s)
on conflict (tenant, class_id) do update set
  start_at = excluded.start_at, end_at = excluded.end_at, expected = excluded.expected,
  shares = excluded.shares, hold = excluded.hold, hold_s = excluded.hold_s
