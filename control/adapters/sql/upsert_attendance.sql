-- The same class counted again is the same row: messages come twice and out of order.
insert into attendance (tenant, class_id, region, start_at, announced, came)
values (%(tenant)s, %(class_id)s, %(region)s, to_timestamp(%(start_s)s), %(announced)s, %(came)s)
on conflict (tenant, class_id, region, start_at) do update set
  announced = excluded.announced, came = greatest(attendance.came, excluded.came)
