-- By pool or region, of the days [first, last], the dearest first.
select case %(by)s when 'pool' then pool else region end as name,
       sum(usd) as usd, sum(stream_minutes) as stream_minutes
from costs
where day between %(first)s and %(last)s and pool <> %(shadow)s
group by 1
order by 2 desc, 1
limit %(most)s
