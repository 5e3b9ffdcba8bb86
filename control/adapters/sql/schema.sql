-- Safe to run again and again.

-- History of sessions, one row each: the newest snapshot that arrived. `seq` grows within a cell, so
-- an old snapshot that arrives late changes nothing.
create table if not exists sessions (
  session_id text primary key,
  tenant     text not null,
  lesson_id  text not null,
  avatar     text not null,
  status     text not null,
  region     text not null,
  worker_id  text,
  generation bigint,
  created_at timestamptz not null,
  live_at    timestamptz,
  ended_at   timestamptz,
  reason     text,
  seq        bigint not null
);
create index if not exists sessions_of_tenant on sessions (tenant, created_at desc);

-- What a tenant may have; a tenant without a row has no limits and one turn in the queue.
create table if not exists tenants (
  tenant         text primary key,
  most_sessions  integer check (most_sessions > 0),
  requests_per_s integer check (requests_per_s > 0),
  weight         numeric not null default 1 check (weight > 0)
);

-- Client keys: only their SHA-256 is kept.
create table if not exists api_keys (
  digest       text primary key,
  tenant       text not null,
  role         text not null check (role in ('client', 'operator')),
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  withdrawn_at timestamptz
);

-- Stream seconds by tenant and day, UTC.
create or replace view usage as
select tenant,
       (live_at at time zone 'UTC')::date as day,
       count(*) as sessions,
       sum(extract(epoch from coalesce(ended_at, now()) - live_at)) as stream_s
from sessions
where live_at is not null
group by 1, 2;

-- What clients announce, one row a class. `shares` maps a region to its part of the learners.
create table if not exists timetable (
  tenant       text not null,
  class_id     text not null,
  start_at     timestamptz not null,
  end_at       timestamptz not null check (end_at > start_at),
  expected     integer not null check (expected > 0),
  shares       jsonb not null,
  hold         integer not null check (hold between 0 and expected),
  hold_s       integer not null,
  announced_at timestamptz not null default now(),
  primary key (tenant, class_id)
);
create index if not exists timetable_of_tenant on timetable (tenant, start_at, class_id);
create index if not exists timetable_by_start on timetable (start_at, tenant, class_id);

-- One row: the version grows with every change of the timetable, in the change's own transaction,
-- so that who saw a version has seen all that it stands for. Its lock puts changes in a line.
create table if not exists timetable_version (
  only_row boolean primary key default true check (only_row),
  version  bigint not null
);
insert into timetable_version (version) values (1) on conflict do nothing;

-- How many of an announced class came, one row a class, its start and region.
create table if not exists attendance (
  tenant    text not null,
  class_id  text not null,
  region    text not null,
  start_at  timestamptz not null,
  announced double precision not null,
  came      integer not null,
  primary key (tenant, class_id, region, start_at)
);

-- Demand, one row a cell and five minutes: the greatest number of sessions, and of those of no
-- announced class.
create table if not exists demand (
  cell     text not null,
  region   text not null,
  start_at timestamptz not null,
  live     double precision not null,
  other    double precision not null,
  primary key (cell, start_at)
);

-- What the fleet cost, one row a cell, day (UTC) and pool. Of the pool `published`: what the
-- published policy would have paid on the same demand; it is no part of any sum.
create table if not exists costs (
  cell           text not null,
  region         text not null,
  day            date not null,
  pool           text not null,
  usd            double precision not null,
  slot_minutes   double precision not null,
  stream_minutes double precision not null,
  primary key (cell, day, pool)
);
create index if not exists costs_by_day on costs (day);
create index if not exists sessions_by_live on sessions (live_at) where live_at is not null;
