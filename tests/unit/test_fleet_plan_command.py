"""``rapido fleet plan`` and ``cost``: real plans of a real store, read and decided again."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from chalice.config import Config
from chalice.local import LocalGateway
from typer.testing import CliRunner

from app import app
from control import bootstrap
from control.services import access, planner, plans
from ops import cli, client
from ops.client import CallError
from tests.fleet_desk import OD, SPOT, FleetDesk


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url, least=1)


class InProcess:
    """The API of a cell that runs here, as ops.client has it."""

    asked: list[tuple[str, dict[str, str]]]

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked = []

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def call(
        self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        self.asked.append((path, query or {}))
        address = f"{path}?{urlencode(query)}" if query else path
        headers = {"authorization": f"Bearer {self.key}"}
        answer = LocalGateway(app, Config()).handle_request(method, address, headers, b"")
        told = json.loads(answer["body"])
        if int(answer["statusCode"]) >= 400:
            raise CallError(int(answer["statusCode"]), told)
        return dict(told)


@pytest.fixture
def api(desk: FleetDesk, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    key = access.new_key()
    desk.store.put_key(access.digest(key), {"tenant": "ops", "role": "operator"})
    cell = SimpleNamespace(name=desk.cell.name, store=desk.store, edge_key="", peers=())
    found = InProcess(key)
    monkeypatch.setattr(bootstrap, "cell", lambda: cell)
    monkeypatch.setattr(client, "connect", lambda *_, **__: found)
    return found


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["fleet", *words], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def burst(desk: FleetDesk) -> None:
    """A fleet that is too small, with a banned pool and an idle spot node."""
    desk.boot(OD)
    desk.boot(SPOT)
    desk.pools.make("g6.xlarge-spot")
    desk.store.ban("g6.xlarge-spot", desk.now_s + 600, "no capacity")
    for _ in range(20):
        desk.lesson()
    desk.pass_s(60)
    planner.tick(desk.cell)


def test_a_plan_is_told_in_words(desk: FleetDesk, api: InProcess) -> None:
    burst(desk)
    (kept,) = desk.store.plans(1)
    (pool, count) = next(iter(kept["plan"]["launch"].items()))

    said = run("plan", "--why")

    assert "in us-east-1, by tick" in said
    assert "20 live, 0 waiting" in said
    assert "has       24 slots; 2 ready" in said
    assert kept["plan"]["why"]["said"][0] in said
    assert f"launches  {count} {pool}, {kept['order']['launch'][pool]} then" in said
    assert "banned    g6.xlarge-spot until " in said
    assert "pays      1.47 $ an hour" in said
    assert "0.4386" in said, "the prices it went by"


def test_nodes_that_close_and_go_are_named_with_what_is_on_them(
    desk: FleetDesk, api: InProcess
) -> None:
    nodes = desk.boot(OD, 5)
    desk.now_ms -= int(desk.now_ms % 300_000)  # it looks its mix over
    planner.tick(desk.cell)
    desk.now_ms += 1000
    planner.tick(desk.cell)

    said = run("plan", "--last", "2", "--why")

    (newer, older) = desk.store.plans(2)
    assert set(older["plan"]["close"]) < set(nodes)
    assert f"closes    {older['plan']['close'][0]}, {OD}, 0 of 12 slots used" in said
    assert f"releases  {newer['order']['release'][0]}, {OD}, 0 of 12 slots used" in said


def test_the_last_plans_are_a_line_each(desk: FleetDesk, api: InProcess) -> None:
    burst(desk)
    desk.pass_s(60)
    planner.tick(desk.cell)

    lines = run("plan").splitlines()

    assert sum("tick" in line for line in lines) == 2
    assert sum("tick" in line for line in run("plan", "--last", "1").splitlines()) == 1
    assert len(json.loads(run("plan", "--json"))["plans"]) == 2


def test_a_cell_without_plans_is_told_so(desk: FleetDesk, api: InProcess) -> None:
    assert "Nothing was planned yet" in run("plan", "--why")
    assert json.loads(run("plan", "--json")) == {"plans": []}


def test_all_that_is_kept_is_decided_again_and_agrees(desk: FleetDesk, api: InProcess) -> None:
    burst(desk)
    for _ in range(11):
        desk.pass_s(60)
        planner.tick(desk.cell)

    assert "12 of 12 plans agree" in run("plan", "--replay")


def spoil(desk: FleetDesk, **changes: Any) -> None:
    """The newest plan, as something else."""
    (kept,) = desk.store.plans(1)
    desk.store._call("lset", desk.store._prefix + "plans", 0, json.dumps(kept | changes))


def test_a_plan_that_would_be_decided_otherwise_is_named_and_exits_1(
    desk: FleetDesk, api: InProcess
) -> None:
    burst(desk)
    (kept,) = desk.store.plans(1)
    spoil(desk, plan=kept["plan"] | {"launch": {OD: 9}})

    said = run("plan", "--replay", code=1)

    assert "0 of 1 plans agree" in said
    assert "1 differ" in said
    assert "differs: of 20" in said
    told = json.loads(run("plan", "--replay", "--json", code=1))
    assert [one["replayed"] for one in told["plans"]] == ["differs"]


def test_a_plan_of_another_version_is_no_agreement(desk: FleetDesk, api: InProcess) -> None:
    burst(desk)
    (kept,) = desk.store.plans(1)
    spoil(desk, policy=kept["policy"] | {"courage": 1.0})

    assert "1 were kept by another version" in run("plan", "--replay", code=1)


def test_a_solver_that_ran_out_of_time_is_no_disagreement(desk: FleetDesk, api: InProcess) -> None:
    burst(desk)
    (kept,) = desk.store.plans(1)
    why = kept["plan"]["why"] | {"proven": False}
    spoil(desk, plan=kept["plan"] | {"launch": {OD: 9}, "why": why})

    assert "1 had no time to come to an end" in run("plan", "--replay")


# Pages


def test_plans_come_in_pages_that_an_answer_can_hold(
    desk: FleetDesk, api: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        desk.store.keep_plan({"at_s": 1000.5 + number, "large": "x" * 1000})
    monkeypatch.setattr(plans, "MOST_BYTES", 8000)

    found = json.loads(run("plan", "--last", "20", "--json"))["plans"]

    assert [one["at_s"] for one in found] == [1000.5 + n for n in range(24, 4, -1)]
    assert len(api.asked) == 3
    assert api.asked[-1][1] == {"limit": "6", "before": "1011.5"}


def test_one_plan_that_is_too_large_comes_alone(
    desk: FleetDesk, api: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store.keep_plan({"at_s": 1.0})
    desk.store.keep_plan({"at_s": 2.0, "large": "x" * 1000})
    monkeypatch.setattr(plans, "MOST_BYTES", 100)

    page = api.call("GET", "/api/v1/fleet/plans", query={"limit": "5"})

    assert ([one["at_s"] for one in page["plans"]], page["more"]) == ([2.0], True)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"), ({"limit": "201"}, "limit"), ({"limit": "9" * 5000}, "limit"),
        ({"limit": "1.5"}, "limit"), ({"before": "soon"}, "before"), ({"before": "nan"}, "before"),
    ],
)  # fmt: skip
def test_a_bad_query_is_refused_with_a_remedy(
    api: InProcess, query: dict[str, str], field: str
) -> None:
    with pytest.raises(CallError) as refused:
        api.call("GET", "/api/v1/fleet/plans", query=query)

    assert refused.value.status == 422
    (fault,) = refused.value.problem["errors"]
    assert fault["field"] == field
    assert fault["remedy"]


# Costs


COST = {
    "by": "pool", "first": "2027-01-01", "last": "2027-01-31", "more": False, "usd": 1234.5,
    "slot_minutes": 9e6, "stream_minutes": 1_000_000.0, "usd_stream_minute": 0.0012345,
    "published_usd": 3000.0, "saving_percent": 58.9,
    "rows": [
        {"name": SPOT, "usd": 1234.5, "stream_minutes": 1e6, "usd_stream_minute": 0.0012345},
        {"name": OD, "usd": 0.0, "stream_minutes": 0.0, "usd_stream_minute": None},
    ],
}  # fmt: skip


class Told:
    """A cell that answers that."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.query: dict[str, str] | None = None

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def call(self, method: str, path: str, query: dict[str, str] | None = None) -> Any:
        assert (method, path) == ("GET", "/api/v1/fleet/cost")
        self.query = query
        return self.answer


def test_costs_are_a_table_its_sum_and_the_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Told(COST)
    monkeypatch.setattr(client, "connect", lambda *_, **__: cell)

    said = run("cost", "--by", "pool", "--from", "2027-01-01", "--to", "2027-01-31")

    assert cell.query == {"by": "pool", "from": "2027-01-01", "to": "2027-01-31"}
    assert "2027-01-01 to 2027-01-31, UTC\n" in said
    (pool,) = (line for line in said.splitlines() if SPOT in line)
    assert [part in pool for part in ("1,234.50", "1,000,000", "0.123")] == [True] * 3
    assert "all cells" in said
    assert "58.9 % less than the published policy" in said
    assert "3,000.00 $ on the same demand" in said


def test_a_fleet_that_is_dearer_than_the_published_one_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dear = COST | {"saving_percent": -12.0, "more": True, "last": "2027-01-01"}
    monkeypatch.setattr(client, "connect", lambda *_, **__: Told(dear))

    said = run("cost")

    assert "12.0 % more than the published policy" in said
    assert "2027-01-01, UTC; the cheapest are left out" in said


def test_without_a_fleet_there_is_no_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    none = COST | {"saving_percent": None, "published_usd": 0.0, "rows": []}
    monkeypatch.setattr(client, "connect", lambda *_, **__: Told(none))

    assert "nothing to compare with" in run("cost")
    assert json.loads(run("cost", "--json")) == none
