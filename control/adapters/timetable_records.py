"""The timetable in PostgreSQL. A connection a call; psycopg loads at the first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from control.adapters.database import Database, transaction
from control.domain.fleet.announcing import Announcement
from control.services.timetable_ports import Check, Place, Span

_SQL = Path(__file__).parent / "sql"
_LOCK = "select version from timetable_version for update"
_CHANGED = "update timetable_version set version = version + 1"
_VERSION = "select version from timetable_version"
_STANDING = """
select class_id, extract(epoch from start_at)::float8,
       extract(epoch from end_at - start_at)::float8, expected, shares, hold, hold_s::float8,
       extract(epoch from announced_at)::float8
from timetable where tenant = %s and class_id = any(%s)
"""
_COMING = "select count(*) from timetable where tenant = %s and end_at > to_timestamp(%s)"
_FORGET = "delete from timetable where tenant = %s and end_at < to_timestamp(%s)"
_REMOVE = "delete from timetable where tenant = %s and class_id = %s"
_REMOVE_SPAN = """
delete from timetable
where tenant = %s and start_at >= to_timestamp(%s) and start_at < to_timestamp(%s)
"""
KEPT_S = 90 * 86400.0
"""What is over stays readable that long."""


class PostgresAnnouncements:
    """In the database of the records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, tenant: str, classes: Sequence[Announcement], now_s: float, check: Check) -> int:
        with transaction(self._database) as sql:
            sql.execute(_LOCK)
            found = sql.execute(_STANDING, (tenant, [one.class_id for one in classes]))
            known = {row[0]: Announcement(*row) for row in found}
            coming = sql.execute(_COMING, (tenant, now_s)).fetchone()[0]
            check(known, coming)
            changed = [one for one in classes if known.get(one.class_id) != one]
            if changed:
                statement = (_SQL / "upsert_class.sql").read_text()
                with sql.cursor() as cursor:
                    cursor.executemany(statement, [_row(tenant, one) for one in changed])
                sql.execute(_FORGET, (tenant, now_s - KEPT_S))
                sql.execute(_CHANGED)
        return len(changed)

    def page(self, tenant: str, span: Span, after: Place | None, limit: int) -> list[Announcement]:
        with transaction(self._database) as sql:
            found = self._classes(sql, tenant, None, span, after, limit)
        return [one for _, one in found]

    def remove(self, tenant: str, class_id: str) -> None:
        self._delete(_REMOVE, (tenant, class_id))

    def remove_span(self, tenant: str, span: Span) -> None:
        self._delete(_REMOVE_SPAN, (tenant, span.from_s, span.until_s))

    def version(self) -> int:
        with transaction(self._database) as sql:
            return int(sql.execute(_VERSION).fetchone()[0])

    def of_region(
        self, region: str, span: Span, after: Place | None, limit: int
    ) -> list[tuple[str, Announcement]]:
        with transaction(self._database) as sql:
            return self._classes(sql, None, region, span, after, limit)

    def _classes(
        self,
        sql: Any,
        tenant: str | None,
        region: str | None,
        span: Span,
        after: Place | None,
        limit: int,
    ) -> list[tuple[str, Announcement]]:
        given = {"tenant": tenant, "region": region, "limit": limit, **asdict(span)}
        given["after_s"] = after.start_s if after else None
        given["after_tenant"] = after.tenant if after else None
        given["after_class"] = after.class_id if after else None
        rows = sql.execute((_SQL / "classes.sql").read_text(), given)
        return [(row[0], Announcement(*row[1:])) for row in rows]

    def _delete(self, statement: str, given: tuple[Any, ...]) -> None:
        with transaction(self._database) as sql:
            sql.execute(_LOCK)
            if sql.execute(statement, given).rowcount:
                sql.execute(_CHANGED)


def _row(tenant: str, one: Announcement) -> dict[str, Any]:
    shares = json.dumps(dict(one.shares))
    return {**asdict(one), "tenant": tenant, "end_s": one.end_s, "shares": shares}
