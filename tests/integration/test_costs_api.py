"""What the fleet costs, from a planner's tick to the answer; at home, and at a cell that is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from control.adapters.records import PostgresRecords
from control.adapters.store import ValkeyStore
from control.services.cost_ports import SHADOW
from ops.cell.autoscale import Autoscale
from ops.cell.cell import Cell
from ops.cell.wires import Wire
from ops.cell.workers import LIGHT
from ops.client import CellClient
from tests.integration.away_cell import EAST, LINK, AwayCell

PATH = "/api/v1/fleet/cost"
DAY = "2026-10-01"
"""Long before anything that runs here."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAPIDO_SCHEDULE_SCALE", "60")  # a tick a second
        with Cell(
            name=EAST,
            region=EAST,
            peers=(LINK,),
            state_dir=tmp_path_factory.mktemp("home"),
            worker_module=LIGHT,
            autoscale=Autoscale(start_nodes=1, most_nodes=10, boot_s=(0.2, 0.6)),
        ) as running:
            records = PostgresRecords(running.database_url, EAST)
            row = {"cell": "eu", "region": "eu-central-1", "day": DAY, "slot_minutes": 240.0,
                   "stream_minutes": 120.0}  # fmt: skip
            records.spent([
                row | {"pool": "g5.xlarge-spot", "usd": 3.0},
                row | {"pool": SHADOW, "usd": 12.0},
            ])  # fmt: skip
            yield running


@pytest.fixture
def http(home: Cell) -> httpx.Client:
    headers = {"Authorization": f"Bearer {home.operator_key}"}
    return httpx.Client(base_url=home.url, headers=headers, timeout=15)


@pytest.fixture
def away(home: Cell, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwayCell]:
    wire = Wire(int(home.url.rpartition(":")[2]))
    yield AwayCell(home, wire, home.operator_key, monkeypatch)
    wire.close()


def until(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 90
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_a_lesson_has_its_price_minutes_after_it_lived(home: Cell, http: httpx.Client) -> None:
    store = ValkeyStore(home.store_url, EAST, EAST)
    client = CellClient(home.url, home.client_key)
    until(lambda: any(one.alive and one.slots for one in store.observe().workers))
    lesson = client.start("algebra")["session_id"]
    until(lambda: client.show(lesson)["status"] == "live")

    def priced(by: str) -> dict[str, Any] | None:
        store.release("costs")  # else the records are told every five minutes
        told = http.get(PATH, params={"by": by}).json()
        return told if told["rows"] and told["rows"][0]["usd"] > 0 else None

    pools, lessons = until(lambda: priced("pool")), until(lambda: priced("lesson"))

    assert {one["name"] for one in lessons["rows"]} == {"demo/algebra"}
    assert pools["published_usd"] > 0
    assert pools["saving_percent"] is not None
    assert {one["name"].partition("-")[2] for one in pools["rows"]} <= {"spot", "on-demand"}
    assert until(lambda: priced("tenant"))["rows"][0]["name"] == "demo"
    assert until(lambda: priced("region"))["rows"][0]["name"] == EAST
    client.end(lesson)


def test_sums_price_and_saving_are_told_with_the_rows(http: httpx.Client) -> None:
    told = http.get(PATH, params={"from": DAY, "to": DAY}).json()

    assert told == {
        "by": "pool",
        "first": DAY,
        "last": DAY,
        "rows": [
            {"name": "g5.xlarge-spot", "usd": 3.0, "stream_minutes": 120.0,
             "usd_stream_minute": 0.025}
        ],
        "more": False,
        "usd": 3.0,
        "slot_minutes": 240.0,
        "stream_minutes": 120.0,
        "usd_stream_minute": 0.025,
        "published_usd": 12.0,
        "saving_percent": 75.0,
    }  # fmt: skip


def test_days_without_a_fleet_have_no_price_and_no_saving(http: httpx.Client) -> None:
    told = http.get(PATH, params={"from": "2020-01-01", "to": "2020-01-31", "by": "tenant"}).json()

    assert (told["rows"], told["usd"], told["usd_stream_minute"]) == ([], 0.0, None)
    assert told["saving_percent"] is None


def test_the_last_seven_days_are_told_where_none_are_named(http: httpx.Client) -> None:
    told = http.get(PATH).json()

    first, last = (datetime.fromisoformat(told[one]).date() for one in ("first", "last"))
    assert last - first == timedelta(days=6)
    assert datetime.now(UTC).date() - last <= timedelta(days=1)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from", "a day before"),
        ({"from": "2026-01-01", "to": "2026-04-03"}, "from", "at most 92 days"),
        ({"from": "2026-02-30"}, "from", "2027-01-31"),
        ({"to": "20260201"}, "to", "2027-01-31"),
        ({"to": "2026-02-01T00:00Z"}, "to", "2027-01-31"),
        ({"by": "teacher"}, "by", "pool, region, tenant, lesson"),
        ({"since": "2026-02-01"}, "since", "known here are from, to, by"),
    ],
)
def test_a_bad_query_is_refused_with_a_remedy(
    http: httpx.Client, query: dict[str, str], field: str, words: str
) -> None:
    answer = http.get(PATH, params=query)

    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["field"] == field
    assert fault["fault"]
    assert words in fault["remedy"]


def test_92_days_are_told_and_so_are_the_first_and_the_last_of_all(http: httpx.Client) -> None:
    for first, last in (("2026-01-01", "2026-04-02"), ("0001-01-01",) * 2, ("9999-12-31",) * 2):
        for by in ("pool", "lesson"):
            answer = http.get(PATH, params={"from": first, "to": last, "by": by})
            assert answer.status_code == 200, answer.text
    assert http.get(PATH, params={"to": "0001-01-01"}).json()["first"] == "0001-01-01"


def test_costs_are_an_operators_to_see(home: Cell, http: httpx.Client) -> None:
    http.headers["Authorization"] = f"Bearer {home.client_key}"
    assert http.get(PATH).status_code == 403


# At a cell that is not home


def test_any_cell_answers_as_the_home_cell_does(away: AwayCell, http: httpx.Client) -> None:
    query = f"{PATH}?from={DAY}&to={DAY}&by=region"

    answer = away.call("GET", query)

    assert answer.status_code == 200
    assert answer.json() == http.get(query).json()
    assert answer.json()["rows"][0]["name"] == "eu-central-1"


def test_a_home_cell_that_is_away_is_told_with_when_to_come_again(away: AwayCell) -> None:
    away.call("GET", PATH)  # its key is known here from now on
    away.wire.cut()

    answer = away.call("GET", PATH)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert f"is kept in the cell {EAST}, which does not answer" in answer.json()["detail"]


def test_a_bad_query_needs_no_home_cell(away: AwayCell) -> None:
    away.call("GET", PATH)
    away.wire.cut()

    assert away.call("GET", f"{PATH}?by=teacher").status_code == 422
