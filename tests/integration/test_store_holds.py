"""Slots held for classes, against a real Valkey: real leases that only their class may have."""

from __future__ import annotations

from typing import Any

import pytest

from control.entrypoints.sessions_api import why_view
from control.services.planner_ports import Held, ObservedClass
from control.services.ports import Placed
from ops.client import replayed
from tests.integration.test_store import Desk

MINUTE_MS = 60_000


@pytest.fixture
def desk(valkey_url: str) -> Desk:
    return Desk(valkey_url)


def hold(desk: Desk, n: int, class_id: str = "9a", minutes: float = 10) -> Held:
    return desk.store.hold("school", class_id, n, desk.now_ms / 1000 + 60 * minutes)


def pupil(desk: Desk, lesson: str, class_id: str = "9a", **changes: Any) -> Placed:
    return desk.place(lesson, class_id=class_id, **changes)


def of_class(desk: Desk, class_id: str = "9a") -> ObservedClass:
    return next(one for one in desk.store.observe().classes if one.class_id == class_id)


def test_nobody_else_is_given_a_held_slot(desk: Desk) -> None:
    desk.worker("w1", 3)

    assert hold(desk, 2).count == 2

    outcomes = [desk.place(f"walk-in {i}").outcome for i in range(2)]
    assert outcomes == ["placed", "full"]
    assert desk.used() == {"w1": "3"}


def test_a_class_is_placed_at_once_in_a_full_cell_with_a_queue(desk: Desk) -> None:
    desk.worker("w1", 3)
    hold(desk, 2)
    desk.place("walk-in")
    waits = desk.place("waits", wait=True)

    outcomes = [pupil(desk, f"pupil {i}", wait=True).outcome for i in range(3)]

    assert outcomes == ["placed", "placed", "queued"]
    assert desk.session(waits.session_id).status == "queued"
    assert desk.used() == {"w1": "3"}
    assert of_class(desk) == ObservedClass("school", "9a", came=3, open=3, held=0)


@pytest.mark.parametrize("other", [{"class_id": "9b"}, {"tenant": "college", "class_id": "9a"}])
def test_a_slot_is_held_for_one_class_of_one_tenant(desk: Desk, other: dict[str, str]) -> None:
    desk.worker("w1", 1)
    hold(desk, 1)

    assert desk.place("a", **other).outcome == "full"


def test_asking_every_minute_keeps_the_number(desk: Desk) -> None:
    desk.worker("w1", 8)
    hold(desk, 4)
    first = pupil(desk, "a")

    again = hold(desk, 4)

    assert again.count == 3  # and one who is here
    desk.store.finish(first.session_id, 0, "ended", "left early")
    assert hold(desk, 4).count == 4
    assert desk.used() == {"w1": "4"}


def test_only_what_is_free_is_held_and_the_rest_a_minute_later(desk: Desk) -> None:
    desk.worker("w1", 2)
    walk_in = desk.live("walk-in")

    assert hold(desk, 2).count == 1
    desk.store.finish(walk_in.session_id, 0, "ended", "done")

    assert hold(desk, 2).count == 2


def test_a_smaller_number_gives_back_what_is_too_much(desk: Desk) -> None:
    desk.worker("w1", 4)
    hold(desk, 4)
    waits = desk.place("waits", wait=True)

    fewer = hold(desk, 3)

    assert fewer == Held(3, (waits.session_id,))
    assert desk.used() == {"w1": "4"}


def test_a_cancelled_class_gives_its_slots_to_the_queue(desk: Desk) -> None:
    desk.worker("w1", 2)
    hold(desk, 2)
    waits = desk.place("waits", wait=True)

    gone = desk.store.unhold("school", "9a")

    assert gone == Held(0, (waits.session_id,))
    assert desk.used() == {"w1": "1"}
    assert desk.store.unhold("school", "never heard of") == Held(0)
    assert [one.class_id for one in desk.store.observe().classes] == ["9a"]


def test_unused_slots_run_out_by_themselves_and_go_to_who_waits(desk: Desk) -> None:
    desk.worker("w1", 2)
    hold(desk, 2, minutes=1)
    waits = desk.place("waits", wait=True)
    for _ in range(3):
        desk.pass_s(20, "w1", slots=2)
        desk.store.waiting(waits.session_id)

    desk.pass_s(5, "w1", slots=2)

    assert desk.session(waits.session_id).worker_id == "w1"
    assert desk.store.observe().held == 0
    assert desk.used() == {"w1": "1"}


def test_a_later_end_is_every_held_slots_end(desk: Desk) -> None:
    desk.worker("w1", 2)
    hold(desk, 1, minutes=1)

    hold(desk, 2, minutes=5)

    ends = [int(at) for _, at in desk.raw.zrange(desk.key("exp"), 0, -1, withscores=True)]
    assert ends == [desk.now_ms + 5 * MINUTE_MS] * 2


def test_a_hold_that_is_over_holds_nothing(desk: Desk) -> None:
    desk.worker("w1", 2)

    assert hold(desk, 2, minutes=-1).count == 0
    assert desk.used() == {}
    assert desk.store.observe().classes == ()


def test_a_hold_is_never_longer_than_a_day(desk: Desk) -> None:
    desk.worker("w1", 1)

    hold(desk, 1, minutes=60 * 24 * 365)

    assert desk.raw.zrange(desk.key("exp"), 0, -1, withscores=True)[0][1] == (
        desk.now_ms + 24 * 60 * MINUTE_MS
    )


def test_heartbeats_leave_held_slots_alone(desk: Desk) -> None:
    desk.worker("w1", 4)
    hold(desk, 3)
    desk.live("walk-in")

    desk.pass_s(40, "w1", slots=4)

    assert desk.used() == {"w1": "4"}
    assert desk.store.observe().held == 3
    assert desk.store.repairs() == {}


@pytest.mark.parametrize("how", ["drain", "close", "says so"])
def test_held_slots_hinder_no_worker_from_leaving(desk: Desk, how: str) -> None:
    desk.worker("w1", 4)
    hold(desk, 3)

    if how == "drain":
        desk.store.drain("w1")
    elif how == "close":
        assert desk.store.order({"w1": None}).leases == {"w1": 0}
    else:
        desk.beat("w1", 4, state="draining")

    assert desk.store.used("w1") == 0
    desk.worker("w2", 4)
    assert hold(desk, 3).count == 3
    assert desk.used() == {"w2": "3"}


def test_held_slots_give_way_to_fewer_slots_and_to_what_truly_runs(desk: Desk) -> None:
    desk.worker("w1", 4)
    hold(desk, 4)

    desk.beat("w1", 3)
    assert desk.store.used("w1") == 3

    desk.beat("w1", 3, [[f"s-{desk.cell}-stranger1", 7, True]])
    assert (desk.store.used("w1"), desk.store.observe().held) == (3, 2)


@pytest.mark.parametrize("end", ["deregisters", "registers anew", "dies"])
def test_held_slots_go_with_their_worker_and_nobody_failed(desk: Desk, end: str) -> None:
    desk.worker("w1", 2)
    desk.worker("w2", 2)
    hold(desk, 4)

    if end == "deregisters":
        desk.store.deregister("w1", desk.registrations["w1"])
    elif end == "registers anew":
        desk.worker("w1", 0)
    else:
        desk.pass_s(15, "w2", slots=2)

    assert desk.used() == {"w2": "2"}
    assert desk.store.counts() == {}
    assert desk.store.outbox(10) == []
    desk.worker("w3", 4)
    assert hold(desk, 4).count == 4
    assert desk.used() == {"w2": "2", "w3": "2"}


def test_a_class_is_not_sent_to_a_dead_worker_for_the_slot_that_was_held_there(desk: Desk) -> None:
    desk.worker("w1", 1)
    hold(desk, 1)
    desk.worker("w2", 1)
    desk.pass_s(10, "w2", slots=1)
    desk.now_ms += 4_950
    desk.beat("w2", 1)  # reaps, a moment too early
    desk.now_ms += 50

    placed = pupil(desk, "a")

    assert desk.session(placed.session_id).worker_id == "w2"


def test_the_quota_holds_for_a_class_too(desk: Desk) -> None:
    desk.worker("w1", 4)
    hold(desk, 3)

    outcomes = [pupil(desk, f"pupil {i}", most_sessions=2).outcome for i in range(3)]

    assert outcomes == ["placed", "placed", "quota"]


def test_who_is_placed_again_takes_another_held_slot(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    hold(desk, 2)
    first = desk.session(pupil(desk, "a").session_id)

    again = desk.store.place_again(first.session_id, first.generation)

    assert again.outcome == "placed"
    assert desk.session(first.session_id).worker_id != first.worker_id
    assert desk.store.observe().held == 0


def test_a_class_session_in_the_queue_is_handed_the_slot_that_is_held_for_it(desk: Desk) -> None:
    desk.worker("w1", 1)
    asked = pupil(desk, "a", wait=True).session_id
    desk.worker("w2", 1)
    desk.store.place_again(asked, 0)  # w1 did not do
    assert hold(desk, 2).count == 1  # on w1
    desk.store.drain("w2")

    again = desk.store.place_again(asked, 0)  # nor does w2, and nothing else is free

    assert (again.outcome, again.handed) == ("queued", (asked,))
    assert desk.session(asked).worker_id == "w1"
    assert desk.used() == {"w1": "1"}


def test_the_best_of_the_held_slots_is_taken_and_the_choice_can_be_made_again(desk: Desk) -> None:
    desk.worker("busy", 4)
    desk.worker("idle", 4, avatars="demo,fox")
    hold(desk, 6)
    desk.store.order({"busy": -0.3})

    session = desk.session(pupil(desk, "a", avatar="fox").session_id)
    why = why_view(session).model_dump(mode="json")

    assert why["held"] is True
    assert session.worker_id == replayed(why) == "idle"
    assert {one["worker_id"]: one["used"] for one in why["candidates"]} == {"busy": 2, "idle": 2}


def test_a_held_slot_is_no_start(desk: Desk) -> None:
    desk.worker("w1", 8)

    hold(desk, 8)

    assert desk.raw.hgetall(desk.key("st")) == {}


def test_what_is_counted_of_a_class_is_forgotten_a_day_after_it_was_heard_of_last(
    desk: Desk,
) -> None:
    desk.worker("w1", 2)
    session = pupil(desk, "a")
    key = desk.raw.keys(desk.key("class:*"))[0]
    assert 86_000 < desk.raw.ttl(key) <= 86_400
    desk.store.finish(session.session_id, 0, "ended", "done")
    assert of_class(desk) == ObservedClass("school", "9a", came=1, open=0, held=0)

    desk.now_ms += 24 * 60 * MINUTE_MS

    assert desk.store.observe().classes == ()
    desk.store.reap(3.0)
    assert desk.raw.zcard(desk.key("classes")) == 0


def test_an_end_after_its_class_was_forgotten_counts_nowhere(desk: Desk) -> None:
    desk.worker("w1", 2)
    session = pupil(desk, "a")
    desk.raw.delete(*desk.raw.keys(desk.key("class:*")))

    assert desk.store.finish(session.session_id, 0, "ended", "done").changed

    assert desk.raw.keys(desk.key("class:*")) == []


def test_the_planner_sees_demand_and_workers_at_one_moment(desk: Desk) -> None:
    desk.worker("w1", 3, instance_type="g5.xlarge", market="spot")
    desk.worker("w2", 1)
    desk.store.drain("w2")
    hold(desk, 1)
    pupil(desk, "other class", class_id="9b")
    desk.live("walk-in")
    desk.place("waits", wait=True)
    desk.store.order({"w1": -0.5})
    desk.now_ms += 2_000

    seen = desk.store.observe()

    assert (seen.now_ms, seen.live, seen.queued, seen.held) == (desk.now_ms, 2, 1, 1)
    assert [(one.class_id, one.came, one.open, one.held) for one in seen.classes] == [
        ("9a", 0, 0, 1),
        ("9b", 1, 1, 0),
    ]
    first, second = seen.workers
    assert (first.worker_id, first.slots, first.used, first.held) == ("w1", 3, 3, 1)
    assert (first.state, first.order, first.drained, first.alive) == ("ready", -0.5, False, True)
    assert (first.heard_ms_ago, first.region, first.zone) == (2_000, "us-east-1", "a")
    assert (first.instance_type, first.market) == ("g5.xlarge", "spot")
    assert (second.drained, second.used, second.instance_type) == (True, 0, None)
    assert first.registration == desk.registrations["w1"]


def test_a_dead_worker_is_seen_as_such(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.worker("w2", 1)

    desk.pass_s(20, "w2")

    dead, alive = desk.store.observe().workers
    assert (dead.alive, dead.heard_ms_ago) == (False, None)
    assert (alive.alive, alive.heard_ms_ago) == (True, 0)
