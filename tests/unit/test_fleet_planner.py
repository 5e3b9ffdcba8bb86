"""The minute's tick: one planner, one plan in flight, and what the store is told."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from control.domain.errors import unavailable
from control.domain.fleet.planning import replay
from control.services import planner
from control.services.planner import PlanningNow
from control.services.scaling import count, report
from control.services.scaling_ports import GroupsAway, Order
from tests.fleet_desk import OD, SPOT, FleetDesk, always


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url)


def order_of(told: dict[str, Any]) -> Order:
    return Order.read(told["order"])


def test_a_plan_that_launches_starts_one_execution_with_absolute_sizes(desk: FleetDesk) -> None:
    desk.boot(OD, 2)

    told = planner.tick(desk.cell, always(launch={OD: 3}))

    ((execution, given),) = desk.workflows.started.items()
    assert told["execution"] == execution == f"plan-{int(desk.now_s)}"
    assert given["order"]["launch"] == {OD: 5}
    assert given["region"] == "us-east-1"
    assert desk.store.flight() == execution


def test_a_plan_that_changes_no_node_starts_nothing_and_is_kept(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)

    planner.tick(desk.cell, always(order={node: -1.0}))

    assert desk.workflows.started == {}
    (kept,) = desk.store.plans(10)
    assert (kept["at_s"], kept["reason"]) == (desk.now_s, "tick")
    assert kept["plan"]["why"] == {"said": ["by hand"]}


def test_the_store_is_told_the_order_and_who_is_closed_and_reopened(desk: FleetDesk) -> None:
    first, second, third = desk.boot(OD, 3)
    desk.store.order({third: None})

    decide = always(order={first: -1.0, third: 0.25}, close=(second,), reopen=(third,))
    planner.tick(desk.cell, decide)

    orders = {one.worker_id: one.order for one in desk.store.observe().workers}
    assert orders == {first: -1.0, second: None, third: 0.25}


def test_a_preference_alone_opens_no_closed_node(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.store.order({node: None})

    planner.tick(desk.cell, always(order={node: 1.0}))

    assert desk.node(node).state == "closed"


def test_whoever_waits_gets_the_slot_of_a_reopened_node(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.store.order({node: None})
    waiting = desk.lesson()

    planner.tick(desk.cell, always(reopen=(node,)))

    assert desk.place_of(waiting) == node
    assert waiting in desk.workflows.started, "and its setup is driven"


def test_only_closed_and_empty_nodes_are_released_whatever_a_plan_says(desk: FleetDesk) -> None:
    opened, closed, used = desk.boot(OD, 3, slots=1)
    desk.store.order({opened: 9.0})
    lesson = desk.lesson()
    assert desk.place_of(lesson) == opened
    desk.store.order({closed: None, used: 9.0})
    desk.lesson()
    desk.store.order({used: None})
    desk.end(lesson)

    told = planner.tick(desk.cell, always(release=(opened, closed, used, "i-unknown")))

    assert order_of(told).release == (closed,)


def test_a_fenced_node_whose_last_lesson_is_over_is_let_go(desk: FleetDesk) -> None:
    (node, *_) = desk.boot(OD, 2, slots=2)
    desk.store.order({node: 9.0})
    lesson = desk.lesson()
    desk.store.drain(node)

    assert order_of(planner.tick(desk.cell, always())).empty
    desk.end(lesson)

    assert order_of(planner.tick(desk.cell, always())).release == (node,)


def test_leaving_nodes_count_against_the_most(valkey_url: str) -> None:
    desk = FleetDesk(valkey_url, most=3)
    (leaving, _) = desk.boot(OD, 2)
    desk.store.drain(leaving)
    desk.pools.terminate(leaving, shrink=True)

    told = planner.tick(desk.cell, always(launch={OD: 5}))

    assert order_of(told).launch == {OD: 2}, "one more than the one that stays"


def test_no_plan_launches_from_a_banned_pool(desk: FleetDesk) -> None:
    desk.boot(OD)
    desk.store.ban(OD, desk.now_s + 60, "by hand")

    assert order_of(planner.tick(desk.cell, always(launch={OD: 1}))).empty
    desk.pass_s(65)
    assert order_of(planner.tick(desk.cell, always(launch={OD: 1}))).launch == {OD: 2}


def test_two_ticks_at_once_plan_once(desk: FleetDesk) -> None:
    desk.boot(OD)
    inner: list[dict[str, Any]] = []

    def decide(fleet: Any, outlook: Any, policy: Any) -> Any:
        inner.append(planner.tick(desk.cell, always(launch={OD: 7})))
        return always(launch={OD: 1})(fleet, outlook, policy)

    told = planner.tick(desk.cell, decide)

    assert inner == [{"planned": False, "because": f"another planner plans {desk.cell.name} now"}]
    assert order_of(told).launch == {OD: 2}
    assert len(desk.workflows.started) == 1


def test_a_planner_that_failed_does_not_keep_the_next_from_planning(desk: FleetDesk) -> None:
    desk.boot(OD)

    def broken(fleet: Any, outlook: Any, policy: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        planner.tick(desk.cell, broken)

    assert planner.tick(desk.cell, always())["planned"]


def test_while_a_plan_is_in_flight_the_next_is_handed_to_it(desk: FleetDesk) -> None:
    desk.boot(OD)
    first = planner.tick(desk.cell, always(launch={OD: 1}))
    desk.pass_s(60)

    second = planner.tick(desk.cell, always(launch={OD: 4}))

    assert second["execution"] == first["execution"]
    assert len(desk.workflows.started) == 1
    desk.pass_s(10)
    seen = count(desk.cell, first["execution"], order_of(first))
    assert (seen.verdict, seen.order) == ("next", order_of(second))


def test_what_was_handed_over_too_late_is_not_done_by_a_later_execution(desk: FleetDesk) -> None:
    desk.boot(OD)
    first = planner.tick(desk.cell, always(launch={OD: 1}))
    desk.pass_s(60)
    planner.tick(desk.cell, always(launch={OD: 9}))
    report(desk.cell, first["execution"], {})
    desk.pass_s(60)
    third = planner.tick(desk.cell, always(launch={OD: 2}))

    seen = count(desk.cell, third["execution"], order_of(third))

    assert third["execution"] != first["execution"]
    assert seen.verdict != "next"


def test_the_place_of_an_execution_that_died_is_taken(desk: FleetDesk) -> None:
    desk.boot(OD)
    died = planner.tick(desk.cell, always(launch={OD: 1}))["execution"]
    desk.workflows.ended.add(died)
    desk.pass_s(60)

    told = planner.tick(desk.cell, always(launch={OD: 1}))

    assert told["execution"] != died
    assert set(desk.workflows.started) == {died, told["execution"]}


def test_the_place_of_an_execution_that_never_began_is_taken(
    desk: FleetDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.boot(OD)

    def away(execution: str, given: dict[str, Any]) -> None:
        raise unavailable("workflows")

    with monkeypatch.context() as patch:
        patch.setattr(desk.workflows, "start_scale_out", away)
        with pytest.raises(Exception, match="workflows"):
            planner.tick(desk.cell, always(launch={OD: 1}))
    desk.pass_s(60)

    told = planner.tick(desk.cell, always(launch={OD: 1}))

    assert told["execution"] in desk.workflows.started


def test_a_tick_after_an_hour_without_any_plans_from_what_is_there(desk: FleetDesk) -> None:
    desk.boot(OD, 2)
    planner.tick(desk.cell, always(launch={OD: 1}))
    desk.pass_s(3600)
    desk.workflows.ended |= set(desk.workflows.started)

    told = planner.tick(desk.cell, always(launch={OD: 1}))

    assert order_of(told).launch == {OD: 3}, "nothing of the hour before is added to it"
    assert told["execution"] in desk.workflows.started


def test_groups_that_do_not_answer_change_nothing(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.pools.away = True

    with pytest.raises(GroupsAway):
        planner.tick(desk.cell, always(close=(node,)))

    assert desk.store.observe().workers[0].order == 0.0
    assert desk.store.flight() is None
    desk.pools.away = False
    assert planner.tick(desk.cell, always())["planned"], "and the next tick plans"


def test_an_execution_by_hand_plans_for_the_slots_asked_for(desk: FleetDesk) -> None:
    desk.boot(OD)
    asked: list[int] = []

    def decide(fleet: Any, outlook: Any, policy: Any) -> Any:
        asked.append(fleet.asked)
        return always(launch={OD: 1})(fleet, outlook, policy)

    given = {"region": "us-east-1", "slots": 60, "reason": "an exam"}
    state = planner.start(desk.cell, "by-hand-1", given, decide)

    assert (state["verdict"], state["reason"]) == ("go", "an exam")
    assert state["order"]["launch"] == {OD: 2}
    assert desk.store.flight() == "by-hand-1"
    desk.pass_s(60)
    planner.tick(desk.cell, decide)
    desk.pass_s(1800)
    planner.tick(desk.cell, decide)
    assert asked == [60, 60, 0], "it counts for half an hour"


def test_an_execution_by_hand_hands_its_plan_to_the_one_in_flight(desk: FleetDesk) -> None:
    desk.boot(OD)
    first = planner.tick(desk.cell, always(launch={OD: 1}))["execution"]
    desk.pass_s(5)

    state = planner.start(desk.cell, "by-hand-2", {}, always(launch={SPOT: 1, OD: 2}))

    assert state["verdict"] == "handed over"
    assert desk.store.flight() == first
    handed = desk.store.take_over()
    assert handed is not None
    assert handed.launch == {OD: 3}


def test_an_execution_by_hand_waits_for_a_planner_at_work(desk: FleetDesk) -> None:
    desk.boot(OD)

    def decide(fleet: Any, outlook: Any, policy: Any) -> Any:
        with pytest.raises(PlanningNow):
            planner.start(desk.cell, "by-hand-3", {}, always())
        return always()(fleet, outlook, policy)

    assert planner.tick(desk.cell, decide)["planned"]


def test_the_last_two_hundred_plans_are_kept(desk: FleetDesk) -> None:
    for number in range(205):
        desk.store.keep_plan({"at_s": number})

    plans = desk.store.plans(2000)

    assert (len(plans), plans[0]["at_s"], plans[-1]["at_s"]) == (200, 204, 5)


def test_a_kept_plan_is_decided_again_from_what_it_was_decided_from(desk: FleetDesk) -> None:
    desk.boot(OD)
    for _ in range(14):
        desk.lesson()

    told = planner.tick(desk.cell)

    (kept,) = desk.store.plans(1)
    assert order_of(told).launch, "fourteen lessons do not fit on twelve slots"
    assert json.loads(json.dumps(asdict(replay(kept)))) == kept["plan"]
