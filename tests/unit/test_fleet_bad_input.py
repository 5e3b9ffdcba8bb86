"""What the fleet is told that cannot be: each with its outcome, and no live session cut."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from control import bootstrap
from control.entrypoints import events
from control.services import nudging, offers, planner
from control.services.scaling import release
from control.services.scaling_ports import Order, PriceList
from tests.fleet_desk import OD, SPOT, FleetDesk, always


@pytest.fixture
def desk(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> FleetDesk:
    found = FleetDesk(valkey_url)
    monkeypatch.setattr(bootstrap, "cell", lambda: found.cell)
    return found


def price(desk: FleetDesk, pool: str) -> float:
    offers.refresh(desk.cell, desk.now_s)
    return next(one.price_usd_h for one in desk.fleet().offers if one.pool.name == pool)


@pytest.mark.parametrize("usd", [0.0, -1.0, 100.6, 0.0001, math.nan, math.inf])
def test_a_price_that_cannot_be_is_refused_and_the_published_one_stands(
    desk: FleetDesk, usd: float
) -> None:
    desk.pools.make(OD)
    desk.pools.make(SPOT)
    desk.prices.told = PriceList({"g5.xlarge": usd}, {"g5.xlarge": {"us-east-1a": usd}})

    assert (price(desk, OD), price(desk, SPOT)) == (1.006, 0.4591)
    assert "price of g5.xlarge on demand is refused" in desk.notes()
    assert "spot price of g5.xlarge in us-east-1a is refused" in desk.notes()


def test_a_zone_without_a_price_leaves_the_other_zones_prices(desk: FleetDesk) -> None:
    desk.pools.make(SPOT)
    desk.prices.told = PriceList({}, {"g5.xlarge": {"us-east-1b": 0.7}})

    assert price(desk, SPOT) == 0.7
    (node,) = desk.boot(SPOT)
    assert desk.node(node).price_usd_h == 0.7, "its own zone, us-east-1a, has none"


def test_a_spot_pool_without_any_price_counts_as_on_demand(desk: FleetDesk) -> None:
    desk.pools.make("g4dn.2xlarge-spot")

    assert price(desk, "g4dn.2xlarge-spot") == 0.752


def test_prices_that_are_not_told_are_gone_by_for_six_hours_then_the_published(
    desk: FleetDesk,
) -> None:
    desk.pools.make(SPOT)
    desk.prices.told = PriceList({}, {"g5.xlarge": {"us-east-1a": 0.8}})
    assert price(desk, SPOT) == 0.8
    desk.prices.away = True
    desk.now_ms += 5 * 3_600_000
    assert price(desk, SPOT) == 0.8
    told = planner.tick(desk.cell, always())
    assert "AWS tells no prices" in told["notes"][0]

    desk.now_ms += 2 * 3_600_000

    assert price(desk, SPOT) == 0.4591
    assert "hours ago" in desk.notes()


def test_with_every_pool_banned_nothing_is_launched_and_nothing_ends(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.boot(SPOT)
    for pool in (OD, SPOT):
        desk.store.ban(pool, desk.now_s + 600, "capacity")
    lesson = desk.lesson()

    told = planner.tick(desk.cell, always(launch={OD: 3, SPOT: 3}, release=(node,)))

    assert Order.read(told["order"]).empty
    assert desk.place_of(lesson) is not None


def test_quotas_below_the_minimum_are_planned_with_and_told(valkey_url: str) -> None:
    desk = FleetDesk(valkey_url, least=8, most=20)
    desk.pools.make(OD, most=2)
    desk.pools.make(SPOT, most=1)

    fleet = desk.fleet()

    assert (fleet.bounds.least, fleet.bounds.most) == (3, 3)
    assert "the groups' maxima allow 3 nodes; 8 are asked" in desk.notes()
    told = planner.tick(desk.cell, always(launch={OD: 8}))
    assert Order.read(told["order"]).launch == {OD: 2}


def test_an_accounts_quota_is_told_apart_from_a_zone_without_capacity(desk: FleetDesk) -> None:
    desk.boot(OD)
    desk.boot(SPOT)
    desk.pools.short = {OD: "quota", SPOT: "spot-quota"}
    desk.pools.set(OD, 2)
    desk.pools.set(SPOT, 2)
    desk.pools.launch()

    desk.fleet()

    reasons = {pool: ban.reason.split()[0] for pool, ban in desk.store.bans().items()}
    assert reasons == {OD: "quota", SPOT: "spot-quota"}


def test_a_desired_capacity_raised_by_hand_counts_as_nodes_that_are_there(
    desk: FleetDesk,
) -> None:
    desk.boot(OD)
    desk.pools.set(OD, 4)

    told = planner.tick(desk.cell, always(launch={OD: 1}))

    assert len(desk.fleet().nodes) == 4
    assert Order.read(told["order"]).launch == {OD: 5}


def test_a_desired_capacity_lowered_by_hand_ends_nothing_and_is_told(desk: FleetDesk) -> None:
    nodes = desk.boot(OD, 3)
    lesson = desk.lesson()
    desk.pools.set(OD, 1)

    told = planner.tick(desk.cell, always(launch={OD: 1}))

    assert "its desired capacity was lowered by hand" in "".join(told["notes"])
    assert {desk.node(one).state for one in nodes} == {"ready"}
    assert Order.read(told["order"]).launch == {OD: 4}, "more than are there, not than were wanted"
    assert desk.place_of(lesson) in nodes


def test_after_that_a_released_node_takes_no_place_with_it_twice(desk: FleetDesk) -> None:
    first, second, _ = desk.boot(OD, 3)
    desk.pools.set(OD, 2)
    desk.store.order({first: None, second: None})

    release(desk.cell, Order(release=(first, second)))

    ended = [one[1:] for one in desk.pools.called if one[0] == "terminate"]
    assert ended == [(first, False), (second, True)]
    assert desk.desired() == {OD: 1}


def test_a_worker_that_claims_a_million_slots_counts_as_its_type(desk: FleetDesk) -> None:
    desk.boot(OD, slots=10)
    (node,) = desk.boot(OD, slots=10**6)

    assert desk.node(node).slots == 10
    assert {one.slots for one in desk.fleet().offers} == {10}


def spot_notice(*nodes: str) -> dict[str, Any]:
    arn = "arn:aws:ec2:us-east-1:123456789012:instance/"
    return {
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "resources": [arn + one for one in nodes],
    }


def test_spots_notice_fences_bans_the_pool_and_plans_at_once(desk: FleetDesk) -> None:
    (node,) = desk.boot(SPOT)

    assert events.node(spot_notice(node), None) == {"fenced": 1}

    assert desk.node(node).state == "leaving"
    assert desk.fleet().banned == {SPOT: desk.now_s + 1800}
    ((execution, given),) = desk.workflows.started.items()
    assert execution.startswith("nudge-")
    assert given == {"reason": "EC2 Spot Instance Interruption Warning"}


def test_a_notice_that_comes_twice_late_or_of_a_stranger_does_no_harm(desk: FleetDesk) -> None:
    (node,) = desk.boot(SPOT)
    lesson = desk.lesson()

    for _ in range(2):
        events.node(spot_notice(node), None)
    assert len(desk.workflows.started) == 1
    desk.pools.gone(node)
    events.node(spot_notice(node), None)
    assert events.node(spot_notice("i-0bbbbbbbbbbbbbbbb"), None) == {"fenced": 0}

    assert len(desk.workflows.started) == 1
    assert desk.place_of(lesson) == node, "its lesson goes on until the node is gone"


def test_a_notice_for_a_node_that_boots_bans_its_pool_as_well(desk: FleetDesk) -> None:
    desk.pools.make(SPOT, desired=1)
    ((group),) = desk.pools.pools()

    assert events.node(spot_notice(group.instances[0].node_id), None) == {"fenced": 0}

    assert list(desk.fleet().banned) == [SPOT]


def test_a_rebalance_recommendation_bans_nothing(desk: FleetDesk) -> None:
    (node,) = desk.boot(SPOT)
    word = spot_notice(node) | {"detail-type": "EC2 Instance Rebalance Recommendation"}

    events.node(word, None)

    assert desk.fleet().banned == {}
    assert len(desk.workflows.started) == 1, "another is planned for"


def test_nudges_come_once_in_ten_seconds_and_fail_nobody(
    desk: FleetDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from control.domain.errors import unavailable

    def away(execution: str, given: dict[str, Any]) -> None:
        raise unavailable("workflows")

    monkeypatch.setattr(desk.workflows, "start_scale_out", away)

    assert [nudging.nudge(desk.cell, "queued") for _ in range(3)] == [True, False, False]


def test_a_cell_without_pools_is_not_planned_nor_nudged() -> None:
    cell: Any = SimpleNamespace(scaling=None)

    assert planner.tick(cell, always()) == {
        "planned": False,
        "because": "this cell has no pools",
    }
    assert not nudging.nudge(cell, "queued")
