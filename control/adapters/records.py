"""PostgreSQL: the truth of keys, the history of sessions. psycopg loads at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from control.adapters.iam_tokens import split_options, token
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
    """Makes the tables, and on RDS the user that functions are; again and again is the same.

    ``url`` is the owner's.
    """
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute((_SQL / "schema.sql").read_bytes())
        connection.execute((_SQL / "rights.sql").read_bytes())


def as_user(url: str, name: str, password: str) -> str:
    """The same database, entered by a password."""
    plain, _ = split_options(url, "iam")
    parts = urlsplit(plain)
    at = f"{quote(name, safe='')}:{quote(password, safe='')}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=at).geturl()


class PostgresRecords:
    """A connection a call: only the recorder, new keys and the tick come here."""

    def __init__(self, url: str, region: str) -> None:
        """``iam=true`` in the URL: its user shows the role's tokens."""
        self._url, ours = split_options(url, "iam")
        self._iam = ours.get("iam") == "true"
        self._region = region

    def upsert(self, rows: Sequence[dict[str, Any]]) -> None:
        statement = (_SQL / "upsert_session.sql").read_text()
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, [{c: row.get(c) for c in _COLUMNS} for row in rows])

    def attended(self, rows: Sequence[dict[str, Any]]) -> None:
        statement = (_SQL / "upsert_attendance.sql").read_text()
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def demanded(self, rows: Sequence[dict[str, Any]]) -> None:
        statement = (_SQL / "upsert_demand.sql").read_text()
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def spent(self, rows: Sequence[dict[str, Any]]) -> None:
        statement = (_SQL / "upsert_cost.sql").read_text()
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def add_key(self, digest: str, tenant: str, role: str) -> None:
        with self.connection() as connection:
            connection.execute(_ADD_KEY, (digest, tenant, role))

    def key(self, digest: str) -> dict[str, Any] | None:
        with self.connection() as connection:
            cursor = connection.execute(_FIND_KEY, (digest,))
            found = cursor.fetchone()
            names = [column.name for column in cursor.description]
        return dict(zip(names, found, strict=True)) if found else None

    def ping(self) -> None:
        with self.connection() as connection:
            connection.execute("select 1")

    def connection(self) -> Any:
        """A transaction's context; raises unavailable."""
        import psycopg

        try:
            # prepared statements would pin a proxy's connections
            return psycopg.connect(
                self._url, password=self._password(), connect_timeout=2, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise unavailable("records") from error

    def _password(self) -> str | None:
        """None: the URL's own."""
        if not self._iam:
            return None
        at = urlsplit(self._url)
        host = f"{at.hostname}:{at.port}"
        return token("rds-db", self._region, host, {"DBUser": at.username or ""})
