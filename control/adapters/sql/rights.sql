-- Where the database knows IAM's users (RDS): the one that the functions are. It owns no table and
-- can neither change nor drop one. Safe to run again and again.
do $$
begin
  if not exists (select from pg_roles where rolname = 'rds_iam') then
    return;
  end if;
  if not exists (select from pg_roles where rolname = 'rapido') then
    create role rapido login;
  end if;
  grant rds_iam to rapido;
  grant select, insert, update on sessions, api_keys, attendance, demand, costs to rapido;
  grant select, insert, update, delete on timetable to rapido;
  grant select, update on timetable_version to rapido;
  grant select on tenants, usage to rapido;
end
$$;
