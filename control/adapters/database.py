"""A transaction of the records' database, for what is asked while somebody waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from control.domain.errors import unavailable

_WITHIN = "set local statement_timeout = '3s'"
"""A database that hangs is told as one that is away."""


class Database(Protocol):
    """A transaction's context, as PostgresRecords gives it. Raises unavailable."""

    def connection(self) -> Any: ...


@contextmanager
def transaction(database: Database) -> Iterator[Any]:
    """Raises unavailable, also where the tables are not made yet: an upgrade goes on."""
    import psycopg

    try:
        with database.connection() as connection:
            connection.execute(_WITHIN)
            yield connection
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable) as error:
        raise unavailable("records") from error
