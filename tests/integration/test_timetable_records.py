"""The timetable's truth in a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from control.adapters.records import PostgresRecords
from control.adapters.timetable_records import KEPT_S, PostgresAnnouncements
from control.domain.errors import RapidoError, invalid
from control.domain.fleet.announcing import Announcement
from control.services.timetable_ports import Place, Span
from ops.cell.files import ROOT

NOW_S = 1_800_000_000.0
EVER = Span(0.0, 253_402_300_799.0)
MATH = Announcement(
    "math", NOW_S + 3600.123456, 2700.0, 24, {"us-east-1": 0.6, "eu-central-1": 0.4}, 4, 600.0
)


@pytest.fixture
def kept(postgres_url: str) -> Iterator[PostgresAnnouncements]:
    yield PostgresAnnouncements(PostgresRecords(postgres_url, "us-east-1"))
    with psycopg.connect(postgres_url) as connection:
        connection.execute("truncate timetable, attendance")


def anything(_: Mapping[str, Announcement], __: int) -> None:
    """Nothing is wrong with it."""


def put(kept: PostgresAnnouncements, *classes: Announcement, tenant: str = "school") -> int:
    return kept.put(tenant, classes, NOW_S, anything)


def ids(kept: PostgresAnnouncements, tenant: str = "school", span: Span = EVER) -> list[str]:
    return [one.class_id for one in kept.page(tenant, span, None, 100)]


def test_a_class_is_read_as_it_was_announced(kept: PostgresAnnouncements) -> None:
    assert put(kept, MATH) == 1

    (read,) = kept.page("school", EVER, None, 100)

    assert read == MATH
    assert read.known_s > 0


def test_the_same_again_changes_nothing_not_even_the_version(kept: PostgresAnnouncements) -> None:
    put(kept, MATH)
    version = kept.version()

    assert put(kept, MATH) == 0
    assert kept.version() == version


def test_a_changed_class_is_replaced_and_the_version_grows(kept: PostgresAnnouncements) -> None:
    put(kept, MATH, replace(MATH, class_id="art"))
    version = kept.version()

    assert put(kept, replace(MATH, expected=30), replace(MATH, class_id="art")) == 1

    assert [one.expected for one in kept.page("school", EVER, None, 100)] == [24, 30]
    assert kept.version() > version


def test_tenants_have_their_own_ids(kept: PostgresAnnouncements) -> None:
    put(kept, MATH)
    put(kept, replace(MATH, expected=9), tenant="other")
    kept.remove("other", "math")

    assert (ids(kept), ids(kept, "other")) == (["math"], [])


def test_a_check_that_raises_lets_nothing_be_changed(kept: PostgresAnnouncements) -> None:
    put(kept, MATH)
    version = kept.version()
    seen: list[tuple[dict[str, Announcement], int]] = []

    def refuse(known: Mapping[str, Announcement], coming: int) -> None:
        seen.append((dict(known), coming))
        raise invalid()

    changed = (replace(MATH, expected=1), replace(MATH, class_id="art"))
    with pytest.raises(RapidoError):
        kept.put("school", changed, NOW_S, refuse)

    assert seen == [({"math": MATH}, 1)]
    assert (ids(kept), kept.version()) == (["math"], version)


def test_one_class_that_cannot_be_written_lets_none_be(kept: PostgresAnnouncements) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        put(kept, MATH, replace(MATH, class_id="art", expected=0))

    assert ids(kept) == []


def test_removing_is_the_same_again_and_again(kept: PostgresAnnouncements) -> None:
    put(kept, *(replace(MATH, class_id=f"c{n}", start_s=NOW_S + n) for n in range(4)))

    for _ in range(2):
        kept.remove("school", "c0")
        kept.remove_span("school", Span(NOW_S + 2, NOW_S + 3))

    assert ids(kept) == ["c1", "c3"]
    version = kept.version()
    kept.remove("school", "c0")
    assert kept.version() == version


def test_pages_follow_each_other_in_order_of_the_start_and_none_is_left_out(
    kept: PostgresAnnouncements,
) -> None:
    put(kept, *(replace(MATH, class_id=f"c{n:02}", start_s=NOW_S + n // 3) for n in range(10)))
    found: list[str] = []
    after = None

    while page := kept.page("school", EVER, after, 4):
        found += [one.class_id for one in page]
        after = Place(page[-1].start_s, "school", page[-1].class_id)

    assert found == [f"c{n:02}" for n in range(10)]


def test_a_region_sees_its_classes_that_have_not_ended_of_every_tenant(
    kept: PostgresAnnouncements,
) -> None:
    put(kept, MATH, replace(MATH, class_id="over", start_s=NOW_S - 9000))
    put(kept, replace(MATH, class_id="far", shares={"us-west-2": 1.0}))
    put(kept, replace(MATH, class_id="late", start_s=NOW_S + 9000))
    put(kept, replace(MATH, class_id="theirs"), tenant="other")

    found = kept.of_region("eu-central-1", Span(0.0, NOW_S + 8000, NOW_S), None, 100)

    assert [(tenant, one.class_id) for tenant, one in found] == [
        ("other", "theirs"),
        ("school", "math"),
    ]


def test_what_is_long_over_is_forgotten(kept: PostgresAnnouncements) -> None:
    put(kept, replace(MATH, class_id="old", start_s=NOW_S - KEPT_S - 9000))

    put(kept, MATH)

    assert ids(kept) == ["math"]


def test_changes_stand_in_a_line_so_that_a_version_stands_for_all_before_it(
    kept: PostgresAnnouncements,
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(_: Mapping[str, Announcement], __: int) -> None:
        reached.set()
        assert go_on.wait(20)

    first = threading.Thread(target=lambda: kept.put("school", [MATH], NOW_S, wait))
    first.start()
    assert reached.wait(20)
    second = threading.Thread(target=lambda: put(kept, replace(MATH, expected=5)))
    second.start()
    before = kept.version()
    go_on.set()
    first.join(20)
    second.join(20)

    assert kept.version() == before + 2
    assert kept.page("school", EVER, None, 9)[0].expected == 5


def test_a_database_that_hangs_is_told_as_one_that_is_away(
    kept: PostgresAnnouncements, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as other:
        other.execute("select version from timetable_version for update")
        with pytest.raises(RapidoError) as told:
            put(kept, MATH)

    assert told.value.status == 503


def test_tables_that_are_not_made_yet_are_told_as_a_database_that_is_away(
    postgres_url: str,
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("create database empty")
    empty = postgres_url.rpartition("/")[0] + "/empty"

    with pytest.raises(RapidoError) as told:
        PostgresAnnouncements(PostgresRecords(empty, "us-east-1")).version()

    assert told.value.status == 503


def test_no_database_is_told_as_such(tmp_path: Path) -> None:
    nobody = PostgresRecords("postgresql://x:y@127.0.0.1:1/none", "us-east-1")

    with pytest.raises(RapidoError) as told:
        PostgresAnnouncements(nobody).version()

    assert told.value.status == 503


def test_who_came_is_one_row_whatever_comes_twice_or_late(
    kept: PostgresAnnouncements, postgres_url: str
) -> None:
    row: dict[str, Any] = {"kind": "attendance", "tenant": "school", "class_id": "math"}
    row |= {"region": "us-east-1", "start_s": NOW_S, "announced": 14.4, "came": 12}
    archive = PostgresRecords(postgres_url, "us-east-1")

    archive.attended([row, row | {"came": 9}, row | {"region": "eu-central-1"}])
    archive.attended([row])

    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("select region, came from attendance order by 1").fetchall()
    assert found == [("eu-central-1", 12), ("us-east-1", 12)]


def test_the_functions_user_has_the_rights_that_the_timetable_needs(
    kept: PostgresAnnouncements, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("create role rds_iam")  # as RDS has it
        # the local owner has the name that the functions' user has there
        rights = (ROOT / "control/adapters/sql/rights.sql").read_text()
        owner.execute(rights.replace("rapido", "functions").encode())
        try:

            class AsFunctions:
                def connection(self) -> Any:
                    connection = psycopg.connect(postgres_url)
                    connection.execute("set role functions")
                    return connection

            functions = PostgresAnnouncements(AsFunctions())
            put(functions, MATH)
            put(functions, replace(MATH, expected=9), replace(MATH, class_id="art"))
            functions.remove("school", "art")
            functions.remove_span("school", EVER)
            assert functions.of_region("us-east-1", EVER, None, 9) == []
            with AsFunctions().connection() as connection:
                upsert = (ROOT / "control/adapters/sql/upsert_attendance.sql").read_text()
                row = {"tenant": "t", "class_id": "c", "region": "r", "start_s": 1.0}
                connection.execute(upsert, row | {"announced": 1.0, "came": 1})
            for change in ("delete from timetable_version", "drop table timetable"):
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                    AsFunctions().connection() as connection,
                ):
                    connection.execute(change)
        finally:
            owner.execute("drop owned by functions")
            owner.execute("drop role functions")
            owner.execute("drop role rds_iam")
