-- By tenant or lesson, of the days [first, last], UTC, the dearest first. A session costs its live
-- minutes of a day times what its cell paid a stream-minute that day, idle slots and booting nodes
-- and all; a cell and day that nothing was paid for costs nothing.
with rates as (
  select cell, day, sum(usd) / nullif(sum(stream_minutes), 0) as usd_a_minute
  from costs
  where day between %(first)s and %(last)s and pool <> %(shadow)s
  group by cell, day
), lived as (
  -- one that is live yet lives until now
  select substring(session_id from '^s-(.+)-[^-]+$') as cell, tenant, lesson_id,
         live_at at time zone 'UTC' as live_at,
         coalesce(ended_at, now()) at time zone 'UTC' as over_at
  from sessions
  where live_at < (%(last)s::date + 1)::timestamp at time zone 'UTC'
    and coalesce(ended_at, now()) > %(first)s::date::timestamp at time zone 'UTC'
), pieces as (
  -- one that lives over midnight has a piece in each of its days
  select cell, tenant, lesson_id, day::date as day,
         extract(epoch from least(over_at, day + interval '1 day') - greatest(live_at, day)) / 60
           as minutes
  from lived, generate_series(greatest(%(first)s::date, live_at::date)::timestamp,
                              least(%(last)s::date, over_at::date)::timestamp,
                              interval '1 day') as day
)
select case %(by)s when 'tenant' then tenant else tenant || '/' || lesson_id end as name,
       sum(minutes * coalesce(usd_a_minute, 0))::float8 as usd,
       sum(minutes)::float8 as stream_minutes
from pieces left join rates using (cell, day)
group by 1
order by 2 desc, 1
limit %(most)s
