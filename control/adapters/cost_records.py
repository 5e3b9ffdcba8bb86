"""What the fleet cost, in PostgreSQL. A connection a call; psycopg loads at the first."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from control.adapters.database import Database, transaction
from control.services.cost_ports import SHADOW, By, CostRow, CostSums

_SQL = Path(__file__).parent / "sql"


class PostgresCosts:
    """In the database of the records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, by: By, first: date, last: date, most: int) -> tuple[CostSums, list[CostRow]]:
        given = {"by": by, "first": first, "last": last, "most": most, "shadow": SHADOW}
        rows = "costs_of_sessions" if by in ("tenant", "lesson") else "costs_of_fleet"
        with transaction(self._database) as sql:
            sums = sql.execute((_SQL / "cost_sums.sql").read_text(), given).fetchone()
            found = sql.execute((_SQL / f"{rows}.sql").read_text(), given).fetchall()
        return CostSums(*sums), [CostRow(*row) for row in found]
