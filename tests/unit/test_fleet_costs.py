"""What is paid for nodes, and what the published policy would have paid beside it."""

from __future__ import annotations

from typing import Any

import pytest

from control.domain.errors import RapidoError
from control.domain.fleet import published
from control.domain.fleet.costs import Cost, by_day, spent
from control.domain.fleet.published import Shadow
from control.domain.fleet.state import Bounds, Node, NodeState, Pool
from control.services import costs, planner, upkeep
from control.services.cost_ports import SHADOW, Accounted
from control.services.fleet import look
from tests.fleet_desk import OD, SPOT, FleetDesk, always

WIDE = Bounds(2, 20)
MIDNIGHT_S = 1_795_046_400.0
"""2026-11-19 00:00 UTC."""


def node(name: str, state: NodeState = "ready", used: int = 0, since_s: float = 0.0) -> Node:
    return Node(name, Pool("g5.xlarge", "spot"), state, 12, used, since_s, 0.5)


# The domain


def test_a_node_costs_from_its_launch_on_whatever_its_state() -> None:
    nodes = [
        node("old"), node("closed", "closed"), node("leaving", "leaving"), node("boots", "booting"),
        node("new", since_s=3570.0), node("wanted", "booting", since_s=3600.0),
    ]  # fmt: skip

    found = spent(nodes, {}, 3540.0, 3600.0)

    assert found["g5.xlarge-spot"].usd == pytest.approx(0.5 * (4 * 60 + 30) / 3600)
    assert found["g5.xlarge-spot"].slot_minutes == pytest.approx(12 * 3.5), "none that boot"


def test_slots_that_are_held_for_a_class_are_no_streams() -> None:
    found = spent([node("a", used=7), node("b", used=2)], {"a": 3}, 0.0, 120.0)

    assert found["g5.xlarge-spot"].stream_minutes == pytest.approx(12.0)


def test_time_across_midnight_belongs_to_two_days() -> None:
    assert list(by_day(MIDNIGHT_S - 90, MIDNIGHT_S + 30)) == [
        ("2026-11-18", MIDNIGHT_S - 90, MIDNIGHT_S),
        ("2026-11-19", MIDNIGHT_S, MIDNIGHT_S + 30),
    ]


@pytest.mark.parametrize(
    ("cpu", "nodes"), [(0.0, 0), (0.35, 5), (0.62, 9), (0.63, 10), (0.7, 10), (0.71, 11), (1, 15)]
)
def test_target_tracking_keeps_the_metric_near_its_target(cpu: float, nodes: int) -> None:
    assert published.wanted(10, cpu) == nodes


def test_the_shadow_looks_once_a_minute_and_not_more_than_five_times() -> None:
    shadow = Shadow(2, 0.0)

    assert published.step(shadow, 59.0, 100, WIDE) == shadow
    assert published.step(shadow, 60.0, 100, WIDE) == Shadow(3, 60.0)
    assert published.step(shadow, 130.0, 100, WIDE) == Shadow(5, 120.0)
    assert published.step(shadow, 7200.0, 20, WIDE) == Shadow(3, 7200.0)


def test_the_shadow_stays_within_the_bounds_and_is_never_empty() -> None:
    assert published.begin(0.0, 10_000, WIDE).nodes == 20
    assert published.begin(0.0, 0, WIDE).nodes == 2
    assert published.begin(0.0, 0, Bounds(0, 5)).nodes == 1
    assert published.step(Shadow(1, 0.0), 60.0, 0, Bounds(0, 5)).nodes == 1


# With a store


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url, least=1)


def plan(desk: FleetDesk, after_s: float = 60.0) -> None:
    desk.pass_s(after_s)
    planner.tick(desk.cell, always())


def sums(desk: FleetDesk) -> dict[str, Cost]:
    """By pool, of all days."""
    found: dict[str, Cost] = {}
    for (_, pool), cost in desk.store.costs().items():
        found[pool] = found.get(pool, Cost()) + cost
    return found


def test_each_plan_pays_for_the_time_since_the_last_one(desk: FleetDesk) -> None:
    desk.boot(OD, 2)
    desk.boot(SPOT, 1)
    plan(desk)
    assert desk.store.costs() == {}, "nobody knows what was before"
    desk.store.order({desk.boot(OD)[0]: 9.0})
    for _ in range(3):
        desk.lesson()

    plan(desk)
    plan(desk, 30.0)

    found = sums(desk)
    assert found[OD].usd == pytest.approx(3 * 1.006 * 90 / 3600)
    assert found[SPOT].usd == pytest.approx(0.4591 * 90 / 3600)
    assert found[OD].slot_minutes == pytest.approx(36 * 1.5)
    assert found[OD].stream_minutes + found[SPOT].stream_minutes == pytest.approx(4.5)
    assert found[SHADOW].usd == pytest.approx(1.006 * 90 / 3600)
    assert found[SHADOW].stream_minutes == pytest.approx(4.5), "the same demand"


def test_after_an_hour_without_plans_its_last_minutes_are_paid(desk: FleetDesk) -> None:
    desk.boot(OD)
    plan(desk)
    desk.now_ms += 3_600_000

    planner.tick(desk.cell, always())

    assert sums(desk)[OD].usd == pytest.approx(1.006 * costs.MOST_S / 3600)


def test_no_time_is_paid_twice(desk: FleetDesk) -> None:
    desk.boot(OD)
    plan(desk)
    desk.pass_s(60)
    seen = look(desk.cell)
    before = desk.store.accounted()
    assert before is not None

    assert costs.account(desk.cell, seen)
    assert not costs.account(desk.cell, seen)
    now = Accounted(seen.fleet.now_s, before.shadow)
    assert not desk.store.account(before, now, {("2026-11-18", OD): Cost(usd=1.0)})

    assert sums(desk)[OD].usd == pytest.approx(1.006 / 60)


def test_the_shadow_grows_by_the_cells_own_demand(desk: FleetDesk) -> None:
    desk.boot(OD, 3)
    plan(desk)
    for _ in range(20):
        desk.lesson()

    for _ in range(4):
        plan(desk)

    accounted = desk.store.accounted()
    assert accounted is not None
    assert accounted.shadow.nodes == 3, "20 of 36 slots; of 24 they were more than 70 %"


def sent(desk: FleetDesk) -> list[dict[str, Any]]:
    return [row for row in desk.sent if row["kind"] == upkeep.COST]


def test_running_sums_go_to_the_records_every_five_minutes(desk: FleetDesk) -> None:
    desk.boot(OD)
    plan(desk)
    plan(desk)

    assert costs.archive(desk.cell) == 2
    assert costs.archive(desk.cell) == 0

    told = {row["pool"]: row for row in sent(desk)}
    assert set(told) == {OD, SHADOW}
    assert told[OD]["usd"] == pytest.approx(1.006 / 60)
    assert (told[OD]["cell"], told[OD]["region"]) == (desk.cell.name, "us-east-1")
    assert desk.store.costs(), "the day goes on"


def test_a_day_that_is_over_is_told_once_more_and_forgotten(desk: FleetDesk) -> None:
    desk.now_ms = int((MIDNIGHT_S - 90) * 1000)
    desk.boot(OD)
    for _ in range(4):
        plan(desk)

    costs.archive(desk.cell)

    days = {row["day"]: row["usd"] for row in sent(desk) if row["pool"] == OD}
    assert days["2026-11-18"] == pytest.approx(1.006 * 30 / 3600)
    assert days["2026-11-19"] == pytest.approx(1.006 * 150 / 3600)
    assert {day for day, _ in desk.store.costs()} == {"2026-11-19"}


def test_a_queue_that_is_away_gets_all_of_it_later(desk: FleetDesk) -> None:
    desk.now_ms = int((MIDNIGHT_S - 90) * 1000)
    desk.boot(OD)
    for _ in range(4):
        plan(desk)
    desk.queue_away = True
    with pytest.raises(RapidoError):
        costs.archive(desk.cell)
    assert len({day for day, _ in desk.store.costs()}) == 2
    desk.queue_away = False
    desk.store.release("costs")

    assert costs.archive(desk.cell) == 4
