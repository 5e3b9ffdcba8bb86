insert into sessions (session_id, tenant, lesson_id, avatar, status, region, worker_id, generation,
                      created_at, live_at, ended_at, reason, seq)
values (%(session_id)s, %(tenant)s, %(lesson_id)s, %(avatar)s, %(status)s, %(region)s,
        %(worker_id)s, %(generation)s,
        to_timestamp(%(created_ms)s::double precision / 1000),
        to_timestamp(%(live_ms)s::double precision / 1000),
        to_timestamp(%(ended_ms)s::double precision / 1000), %(reason)s, %(seq)s)
on conflict (session_id) do update set
  status = excluded.status, worker_id = excluded.worker_id, generation = excluded.generation,
  live_at = excluded.live_at, ended_at = excluded.ended_at, reason = excluded.reason,
  seq = excluded.seq
where sessions.seq < excluded.seq
