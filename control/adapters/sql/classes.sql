-- Of one tenant, or of one region (the other is null), in order of their start, a page at a time:
-- those that begin in [from, until) and end after `ending`, after the place where the page before
-- ended.
select tenant, class_id, extract(epoch from start_at)::float8 as start_s,
       extract(epoch from end_at - start_at)::float8 as duration_s, expected, shares, hold,
       hold_s::float8 as hold_s, extract(epoch from announced_at)::float8 as known_s
from timetable
where (%(tenant)s::text is null or tenant = %(tenant)s)
  and (%(region)s::text is null or jsonb_exists(shares, %(region)s))
  and start_at >= to_timestamp(%(from_s)s) and start_at < to_timestamp(%(until_s)s)
  and end_at > to_timestamp(%(ending_s)s)
  and (%(after_s)s::float8 is null or (start_at, tenant, class_id) >
       (to_timestamp(%(after_s)s), %(after_tenant)s::text, %(after_class)s::text))
order by start_at, tenant, class_id
limit %(limit)s
