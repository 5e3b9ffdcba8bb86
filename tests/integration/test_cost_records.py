"""Costs in a real PostgreSQL: running sums, and what tenants and lessons have of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from control.adapters.cost_records import PostgresCosts
from control.adapters.records import PostgresRecords
from control.domain.errors import RapidoError
from control.services.cost_ports import SHADOW, By, CostRow, CostSums
from ops.cell.files import ROOT

EAST, WEST = "us-east-1", "us-west-2"
OD, SPOT = "g5.xlarge-on-demand", "g5.xlarge-spot"
DAY, NEXT = date(2026, 11, 18), date(2026, 11, 19)


@pytest.fixture
def records(postgres_url: str) -> Iterator[PostgresRecords]:
    yield PostgresRecords(postgres_url, EAST)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("truncate costs, sessions")


@pytest.fixture
def costs(records: PostgresRecords) -> PostgresCosts:
    return PostgresCosts(records)


def row(pool: str, usd: float, streams: float, day: date = DAY, cell: str = EAST) -> dict[str, Any]:
    return {
        "kind": "cost", "cell": cell, "region": cell, "day": day.isoformat(), "pool": pool,
        "usd": usd, "slot_minutes": 2 * streams, "stream_minutes": streams,
    }  # fmt: skip


def at(clock: str, day: date = DAY) -> int:
    moment = datetime.combine(day, datetime.strptime(clock, "%H:%M").time(), UTC)
    return int(moment.timestamp() * 1000)


def lived(
    session: str,
    live_ms: int | None,
    ended_ms: int | None,
    tenant: str = "school",
    lesson: str = "a",
) -> dict[str, Any]:
    return {
        "session_id": session, "seq": 1, "tenant": tenant, "lesson_id": "a", "avatar": "demo",
        "status": "live" if ended_ms is None else "ended", "region": EAST,
        "created_ms": live_ms or ended_ms, "live_ms": live_ms, "ended_ms": ended_ms,
    }  # fmt: skip


def test_sums_that_come_twice_or_out_of_order_are_counted_once(
    records: PostgresRecords, costs: PostgresCosts
) -> None:
    late, early = row(OD, 3.0, 90.0), row(OD, 1.0, 30.0)
    records.spent([early, late])
    records.spent([late])
    records.spent([early])

    sums, rows = costs.report("pool", DAY, DAY, 10)

    assert sums == CostSums(3.0, 180.0, 90.0, 0.0)
    assert rows == [CostRow(OD, 3.0, 90.0)]


def test_pools_and_regions_are_summed_over_cells_and_days_the_shadow_aside(
    records: PostgresRecords, costs: PostgresCosts
) -> None:
    records.spent([
        row(OD, 3.0, 90.0), row(SPOT, 1.0, 60.0), row(SHADOW, 9.0, 150.0),
        row(OD, 2.0, 40.0, NEXT), row(SHADOW, 3.0, 40.0, NEXT),
        row(SPOT, 5.0, 10.0, DAY, WEST),
    ])  # fmt: skip

    sums, pools = costs.report("pool", DAY, NEXT, 10)
    _, regions = costs.report("region", DAY, DAY, 10)

    assert sums == CostSums(11.0, 400.0, 200.0, 12.0)
    assert pools == [CostRow(SPOT, 6.0, 70.0), CostRow(OD, 5.0, 130.0)]
    assert regions == [CostRow(WEST, 5.0, 10.0), CostRow(EAST, 4.0, 150.0)]
    assert costs.report("pool", DAY, NEXT, 1)[1] == pools[:1]


def test_a_tenant_costs_its_live_minutes_at_its_cells_and_days_price(
    records: PostgresRecords, costs: PostgresCosts
) -> None:
    records.spent([row(OD, 3.0, 90.0), row(SPOT, 1.0, 10.0), row(OD, 5.0, 50.0, DAY, "eu-west-1")])
    records.spent([row(SHADOW, 99.0, 100.0)])
    records.upsert([
        lived("s-us-east-1-aaaaaaaa", at("09:00"), at("09:45")),
        lived("s-us-east-1-bbbbbbbb", at("10:00"), at("10:30"), "club"),
        lived("s-eu-west-1-cccccccc", at("10:00"), at("10:10"), "club"),
        lived("s-us-east-1-dddddddd", None, at("10:30"), "club"),
    ])  # fmt: skip

    _, rows = costs.report("tenant", DAY, DAY, 10)

    known = {one.name: (one.usd, one.stream_minutes) for one in rows}
    assert known["school"] == pytest.approx((45 * 0.04, 45.0))
    assert known["club"] == pytest.approx((30 * 0.04 + 10 * 0.1, 40.0))
    assert [one.name for one in rows] == ["club", "school"], "the dearest first"


def test_lessons_are_named_within_their_tenant(
    records: PostgresRecords, costs: PostgresCosts
) -> None:
    records.spent([row(OD, 1.0, 10.0)])
    records.upsert([
        lived("s-us-east-1-aaaaaaaa", at("09:00"), at("09:20")),
        lived("s-us-east-1-bbbbbbbb", at("10:00"), at("10:20")),
        lived("s-us-east-1-cccccccc", at("09:00"), at("09:10"), "club"),
    ])  # fmt: skip

    _, rows = costs.report("lesson", DAY, DAY, 10)

    assert [(one.name, round(one.usd, 6)) for one in rows] == [("school/a", 4.0), ("club/a", 1.0)]


def test_a_session_over_midnight_is_split_by_day(
    records: PostgresRecords, costs: PostgresCosts
) -> None:
    records.spent([row(OD, 1.0, 10.0), row(OD, 5.0, 10.0, NEXT)])
    records.upsert([lived("s-us-east-1-aaaaaaaa", at("23:50"), at("00:20", NEXT))])

    def of(first: date, last: date) -> tuple[float, float]:
        (found,) = costs.report("tenant", first, last, 10)[1]
        return found.usd, found.stream_minutes

    assert of(DAY, DAY) == pytest.approx((1.0, 10.0))
    assert of(NEXT, NEXT) == pytest.approx((10.0, 20.0))
    assert of(DAY, NEXT) == pytest.approx((11.0, 30.0))


def test_a_session_that_is_live_costs_until_now(
    records: PostgresRecords, costs: PostgresCosts
) -> None:
    now = datetime.now(UTC)
    began_ms = int(now.timestamp() * 1000) - 600_000
    first = datetime.fromtimestamp(began_ms / 1000, UTC).date()
    records.upsert([lived("s-us-east-1-aaaaaaaa", began_ms, None)])

    (found,) = costs.report("tenant", first, now.date(), 10)[1]

    assert found.stream_minutes == pytest.approx(10.0, abs=0.5)
    assert found.usd == 0.0, "nothing is known to have been paid"


def test_days_are_utc_whatever_the_connections_zone(
    records: PostgresRecords, costs: PostgresCosts, postgres_url: str, monkeypatch: Any
) -> None:
    records.upsert([lived("s-us-east-1-aaaaaaaa", at("23:50"), at("00:20", NEXT))])
    monkeypatch.setenv("PGTZ", "Pacific/Auckland")

    (found,) = costs.report("tenant", DAY, DAY, 10)[1]

    assert found.stream_minutes == pytest.approx(10.0)


def test_without_its_table_the_records_are_away_and_a_migration_brings_it_back(
    records: PostgresRecords, costs: PostgresCosts, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("alter table costs rename to was_costs")
    try:
        with pytest.raises(RapidoError) as away:
            costs.report("pool", DAY, DAY, 10)
        assert away.value.status == 503
    finally:
        with psycopg.connect(postgres_url) as connection:
            connection.execute("alter table was_costs rename to costs")


def test_the_functions_user_has_the_rights_that_costs_need(postgres_url: str) -> None:
    class AsFunctions(PostgresRecords):
        def connection(self) -> Any:
            connection = super().connection()
            connection.execute("set role functions")
            return connection

    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("create role rds_iam")  # as RDS has it
        # the local owner has the name that the functions' user has there
        rights = (ROOT / "control/adapters/sql/rights.sql").read_text()
        owner.execute(rights.replace("rapido", "functions").encode())
        try:
            functions = AsFunctions(postgres_url, EAST)
            functions.spent([row(OD, 1.0, 10.0)])
            functions.spent([row(OD, 2.0, 20.0)])
            bys: tuple[By, ...] = ("pool", "lesson")
            for by in bys:
                sums, _ = PostgresCosts(functions).report(by, DAY, DAY, 10)
                assert sums.usd == 2.0
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                functions.connection() as connection,
            ):
                connection.execute("delete from costs")
        finally:
            owner.execute("drop owned by functions")
            owner.execute("drop role functions")
            owner.execute("drop role rds_iam")
            owner.execute("truncate costs")
