"""PostgreSQL: the truth of keys, the history of sessions. psycopg loads at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from control.domain.errors import unavailable

_SQL = Path(__file__).parent / "sql"
_COLUMNS = (
    "session_id", "tenant", "lesson_id", "avatar", "status", "region", "worker_id", "generation",
    "created_ms", "live_ms", "ended_ms", "reason", "seq",
)  # fmt: skip
_FIND_KEY = """
select tenant, role, extract(epoch from expires_at - now())::float8 as left_s,
       coalesce(most_sessions, 0) as most_sessions, coalesce(requests_per_s, 0) as requests_per_s,
       coalesce(weight, 1)::float8 as weight
from api_keys left join tenants using (tenant)
where digest = %s and withdrawn_at is null and (expires_at is null or expires_at > now())
"""
_ADD_KEY = "insert into api_keys (digest, tenant, role) values (%s, %s, %s)"


def migrate(url: str) -> None:
    """Makes the tables; again and again is the same."""
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute((_SQL / "schema.sql").read_bytes())


class PostgresRecords:
    """A connection a call: only the recorder, new keys and the tick come here."""

    def __init__(self, url: str) -> None:
        self._url = url

    def upsert(self, rows: Sequence[dict[str, Any]]) -> None:
        statement = (_SQL / "upsert_session.sql").read_text()
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, [{c: row.get(c) for c in _COLUMNS} for row in rows])

    def add_key(self, digest: str, tenant: str, role: str) -> None:
        with self._connection() as connection:
            connection.execute(_ADD_KEY, (digest, tenant, role))

    def key(self, digest: str) -> dict[str, Any] | None:
        with self._connection() as connection:
            cursor = connection.execute(_FIND_KEY, (digest,))
            found = cursor.fetchone()
            names = [column.name for column in cursor.description]
        return dict(zip(names, found, strict=True)) if found else None

    def ping(self) -> None:
        with self._connection() as connection:
            connection.execute("select 1")

    def _connection(self) -> Any:
        """A transaction's context; raises unavailable."""
        import psycopg

        try:
            # prepared statements would pin a proxy's connections
            return psycopg.connect(self._url, connect_timeout=2, prepare_threshold=None)
        except psycopg.Error as error:
            raise unavailable("records") from error
