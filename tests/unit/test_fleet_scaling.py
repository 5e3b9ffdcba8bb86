"""What the states of regional_scale_out do: asked twice they do it once."""

from __future__ import annotations

from typing import Any

import pytest

from control.services import planner, scaling
from control.services.scaling import AskRefused, asked, count, launch, release
from control.services.scaling_ports import Order
from tests.fleet_desk import OD, SPOT, FleetDesk, always


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url)


def ended(desk: FleetDesk) -> list[tuple[Any, ...]]:
    return [one[1:] for one in desk.pools.called if one[0] == "terminate"]


def test_launching_twice_launches_once(desk: FleetDesk) -> None:
    desk.boot(OD)
    order = Order(launch={OD: 3})

    assert [launch(desk.cell, order) for _ in range(2)] == [{OD: 3}, {OD: 3}]

    assert desk.desired() == {OD: 3}


def test_a_closed_and_empty_node_goes_and_its_group_shrinks_by_it(desk: FleetDesk) -> None:
    node, stays = desk.boot(OD, 2)
    desk.store.order({node: None})

    done = [release(desk.cell, Order(release=(node,))) for _ in range(2)]

    assert (done[0].released, done[1].released) == ([node], [])
    assert ended(desk) == [(node, True)]
    assert desk.desired() == {OD: 1}
    assert desk.node(stays).state == "ready"


def test_a_node_that_got_a_lesson_or_was_reopened_meanwhile_is_kept(desk: FleetDesk) -> None:
    reopened, used = desk.boot(OD, 2)
    desk.store.order({reopened: None})
    desk.lesson()
    desk.store.order({reopened: 0.0, used: None})

    done = release(desk.cell, Order(release=(reopened, used)))

    assert done.kept == [reopened, used]
    assert ended(desk) == []


def test_a_released_node_gets_no_lease_and_cannot_be_reopened(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.store.order({node: None})
    release(desk.cell, Order(release=(node,)))

    desk.store.order({node: 5.0})
    lesson = desk.lesson()

    assert desk.place_of(lesson) is None


def test_a_group_at_its_least_keeps_a_closed_node(desk: FleetDesk) -> None:
    desk.pools.make(OD, least=1)
    (node,) = desk.boot(OD)
    desk.store.order({node: None})

    done = release(desk.cell, Order(release=(node,)))

    assert (done.kept, ended(desk)) == ([node], [])
    desk.store.order({node: 0.0})
    assert desk.node(node).state == "ready", "it was not fenced"


def test_of_a_group_at_its_least_a_fenced_node_goes_and_another_comes(desk: FleetDesk) -> None:
    desk.pools.make(OD, least=1)
    (node,) = desk.boot(OD)
    desk.store.drain(node)

    release(desk.cell, Order(release=(node,)))

    assert ended(desk) == [(node, False)]
    assert desk.desired() == {OD: 1}


def test_a_sick_node_is_replaced_and_its_group_keeps_its_size(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.pass_s(200, silent=(node,))

    done = release(desk.cell, Order(replace=(node,)))

    assert (done.replaced, ended(desk)) == ([node], [(node, False)])
    assert desk.desired() == {OD: 1}


def test_a_sick_node_that_is_well_again_is_kept(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.pass_s(200, silent=(node,))
    desk.beat(node)

    assert release(desk.cell, Order(replace=(node,))).kept == [node]


def test_a_node_that_never_registered_is_replaced(desk: FleetDesk) -> None:
    desk.pools.make(OD, desired=1)
    node = desk.fleet().nodes[0].node_id

    assert release(desk.cell, Order(replace=(node,))).replaced == [node]


def test_a_pool_has_two_replacements_in_ten_minutes_then_it_is_banned_and_shrinks(
    desk: FleetDesk,
) -> None:
    for _ in range(2):
        (node,) = desk.boot(OD)
        desk.pass_s(200, silent=(node,))
        assert release(desk.cell, Order(replace=(node,))).replaced == [node]
        desk.pools.gone(node)
        desk.pools.set(OD, 0)
        del desk.registrations[node]
    (node,) = desk.boot(OD)
    desk.pass_s(130, silent=(node,))

    done = release(desk.cell, Order(replace=(node,)))

    assert (done.released, done.broken) == ([node], [OD])
    assert ended(desk)[-1] == (node, True)
    assert desk.fleet().banned == {OD: desk.now_s + 600}


def test_nodes_are_waited_for_until_they_have_registered(desk: FleetDesk) -> None:
    desk.boot(OD)
    order = order_in_flight(desk, launch={OD: 1})
    launch(desk.cell, order)
    assert (count(desk.cell, "plan", order).verdict, desk.desired()) == ("wait", {OD: 2})

    (node,) = desk.pools.launch()
    desk.pass_s(60)
    assert count(desk.cell, "plan", order).verdict == "wait"
    desk.register(node)

    assert count(desk.cell, "plan", order).verdict == "over"


def order_in_flight(desk: FleetDesk, **changes: Any) -> Order:
    state = planner.start(desk.cell, "plan", {}, always(**changes))
    assert state["verdict"] == "go"
    return Order.read(state["order"])


def test_nobody_waits_longer_than_a_boot_takes(desk: FleetDesk) -> None:
    desk.boot(OD)
    order = order_in_flight(desk, launch={OD: 1})
    launch(desk.cell, order)
    desk.pass_s(605)

    seen = count(desk.cell, "plan", order)

    assert (seen.verdict, seen.missing) == ("over", 1)


def test_a_pool_without_capacity_is_banned_settled_and_planned_without(desk: FleetDesk) -> None:
    desk.boot(OD)
    desk.boot(SPOT)
    desk.pools.short[SPOT] = "capacity"
    order = order_in_flight(desk, launch={SPOT: 2, OD: 1})
    launch(desk.cell, order)
    came = desk.pools.launch()
    desk.pass_s(10)

    seen = count(desk.cell, "plan", order)

    assert seen.verdict == "short"
    assert "capacity in us-east-1a" in "".join(seen.notes)
    assert desk.desired() == {OD: 2, SPOT: 1}, "the missing ones do not come later, uncounted"
    before = {"region": "us-east-1", "reason": "tick"}
    state = planner.again(desk.cell, before, always(launch={SPOT: 2, OD: 2}))
    assert state["order"]["launch"] == {OD: 4}, "on demand as the last resort"
    assert list(desk.fleet().banned) == [SPOT]
    assert len(came) == 1


def test_a_failure_in_one_zone_that_another_made_good_bans_nothing(desk: FleetDesk) -> None:
    desk.boot(SPOT)
    desk.pools.short[SPOT] = "capacity"
    desk.pools.set(SPOT, 2)
    desk.pools.launch()
    del desk.pools.short[SPOT]
    desk.pools.launch()

    assert desk.fleet().banned == {}


def test_a_failure_is_heeded_once(desk: FleetDesk) -> None:
    desk.boot(SPOT)
    desk.pools.short[SPOT] = "spot-quota"
    desk.pools.set(SPOT, 3)
    desk.pools.launch()
    assert "spot-quota" in desk.notes()
    desk.pass_s(300)
    desk.pools.set(SPOT, 2)

    assert desk.notes() == "", "who raises it by hand after that waits for a failure of its own"
    assert desk.desired() == {SPOT: 2}
    desk.pass_s(305)
    assert desk.fleet().banned == {}


def test_an_execution_whose_place_went_to_another_ends(desk: FleetDesk) -> None:
    desk.boot(OD)
    order = order_in_flight(desk, launch={OD: 1})
    desk.store.end_flight("plan")
    desk.store.begin_flight("another", 60)

    assert count(desk.cell, "plan", order).verdict == "over"
    scaling.report(desk.cell, "plan", {"missing": 0})
    assert desk.store.flight() == "another"
    assert desk.store.reports(10)[0]["execution"] == "plan"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"region": "eu-west-1", "slots": 3}, "region is 'eu-west-1' and this cell's is"),
        ({"slots": -1}, "slots is -1, not a whole number from 0"),
        ({"slots": 10**6}, "slots is 1000000"),
        ({"slots": "12"}, "slots is '12'"),
        ({"slots": True}, "slots is True"),
        ({"slots": 1.5}, "slots is 1.5"),
        ({"slots": 3, "nodes": 2}, "nodes is no field of it; send region, slots, reason"),
        ({"slots": 3, "reason": "x" * 201}, "reason is no text of at most 200 characters"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_words(given: dict[str, Any], told: str) -> None:
    with pytest.raises(AskRefused, match=told.replace("(", r"\(")):
        asked(given, "us-east-1", 0.0)


def test_no_slots_asked_for_withdraws_what_was(desk: FleetDesk) -> None:
    desk.boot(OD)
    planner.start(desk.cell, "one", {"slots": 50}, always())
    assert desk.fleet().asked == 50

    planner.start(desk.cell, "two", {"slots": 0, "reason": "called off"}, always())

    assert desk.fleet().asked == 0


def test_an_event_of_aws_asks_for_nothing_but_a_plan() -> None:
    event = {"detail-type": "EC2 Instance Launch Unsuccessful", "detail": {}, "region": "x"}

    assert asked(event, "us-east-1", 0.0) == (None, "EC2 Instance Launch Unsuccessful")
