-- All cells' costs of the days [first, last], and beside them what the published policy would have
-- paid.
select coalesce(sum(usd) filter (where pool <> %(shadow)s), 0),
       coalesce(sum(slot_minutes) filter (where pool <> %(shadow)s), 0),
       coalesce(sum(stream_minutes) filter (where pool <> %(shadow)s), 0),
       coalesce(sum(usd) filter (where pool = %(shadow)s), 0)
from costs
where day between %(first)s and %(last)s
