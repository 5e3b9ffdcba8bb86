"""The store's rules, told on its model; the scripts are held to the model elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from control.domain.session import Session
from control.services.ports import Placed, Pulse
from ops.simulate.model import ModelStore
from tests.store_operations import FACTS, START_MS, Operations, an_ask


class Desk:
    """A model with a hand on its clock."""

    def __init__(self) -> None:
        self.now = START_MS
        self.store = ModelStore(lambda: self.now)
        self.asked = 0
        self.lives = 0

    def worker(self, name: str, slots: int) -> None:
        self.lives += 1
        facts = FACTS | {"url": f"http://{name}", "avatars": "demo", "boot": f"life {self.lives}"}
        self.store.register(name, facts)
        self.beat(name, slots)

    def beat(self, name: str, slots: int, running: Any = (), **changes: Any) -> Pulse:
        heard = {"state": "ready", "slots": slots, "avatars": "demo", "late": 0.0}
        registration = self.store.state.workers[name].registration
        pulse = self.store.heartbeat(name, registration, heard | {"running": running} | changes)
        assert pulse is not None
        return pulse

    def place(self, tenant: str = "school", lesson: str | None = None, **changes: Any) -> Placed:
        self.asked += 1
        ask = an_ask(f"s-t-{self.asked:08d}", tenant, lesson or f"l{self.asked}")
        return self.store.place(replace(ask, **changes))

    def live(self, **changes: Any) -> Session:
        placed = self.place(**changes)
        assert self.store.confirm(placed.session_id, self.session(placed).generation)
        return self.session(placed)

    def session(self, placed: Placed) -> Session:
        session = self.store.session(placed.session_id)
        assert session is not None
        return session

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def test_whatever_is_done_the_invariants_hold() -> None:
    run_state_machine_as_test(
        Operations,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_worker_is_given_more_leases_than_it_has_slots() -> None:
    desk = Desk()
    desk.worker("w1", 2)
    desk.worker("w2", 1)

    outcomes = [desk.place().outcome for _ in range(5)]

    assert outcomes == ["placed"] * 3 + ["full"] * 2
    assert desk.store.state.used == {"w1": 2, "w2": 1}


def test_the_check_names_a_count_that_is_not_the_leases() -> None:
    desk = Desk()
    desk.worker("w1", 2)
    desk.place()

    desk.store.state.used["w1"] = 0

    assert desk.store.check() == ["w1 counts 0 leases and has 1"]


def test_the_check_names_an_oversold_worker() -> None:
    desk = Desk()
    desk.worker("w1", 2)
    desk.place()
    desk.place()

    desk.store.state.workers["w1"].slots = 1

    assert "w1 was oversold: 2 leases on 1 slots" in desk.store.check()


def test_the_check_names_a_session_that_waits_in_no_line() -> None:
    desk = Desk()
    desk.worker("w1", 0)
    queued = desk.place(wait=True)

    desk.store.state.queues["school"].pop(queued.session_id)

    assert "queues, tickets and queued sessions disagree" in desk.store.check()


def test_a_free_slot_goes_to_the_session_that_waits_and_not_to_the_next_that_asks() -> None:
    desk = Desk()
    desk.worker("w1", 1)
    first = desk.place()
    waiting = desk.place(wait=True)

    ended = desk.store.finish(first.session_id, 0, "ended", "over")
    late = desk.place()

    assert waiting.outcome == "queued"
    assert ended.handed == (waiting.session_id,)
    assert late.outcome == "full"


def test_tenants_take_turns_by_their_weights() -> None:
    desk = Desk()
    desk.worker("w1", 0)
    tenant_of: dict[str, str] = {}
    for _ in range(6):
        for tenant, weight in (("heavy", 2.0), ("light", 1.0)):
            tenant_of[desk.place(tenant, wait=True, weight=weight).session_id] = tenant

    handed = desk.beat("w1", 6).handed

    assert [tenant_of[sid] for sid in handed].count("heavy") == 4
    assert [tenant_of[sid] for sid in handed].count("light") == 2


def test_a_tenant_that_comes_later_does_not_wait_behind_a_long_line() -> None:
    desk = Desk()
    desk.worker("w1", 0)
    for _ in range(5):
        desk.place("crowd", wait=True)
    newcomer = desk.place("quiet", wait=True)

    handed = desk.beat("w1", 2).handed

    assert newcomer.session_id in handed


def test_within_a_tenant_the_first_that_asked_is_served_first() -> None:
    desk = Desk()
    desk.worker("w1", 0)
    queued = [desk.place(wait=True).session_id for _ in range(3)]

    ranks = [waiting.rank for sid in queued if (waiting := desk.store.waiting(sid))]

    assert ranks == [0, 1, 2]
    assert desk.beat("w1", 3).handed == tuple(queued)


def test_a_ticket_nobody_asks_for_leaves_the_queue_and_one_that_is_asked_for_stays() -> None:
    desk = Desk()
    desk.worker("w1", 0)
    forgotten, asked_for = desk.place(wait=True), desk.place(wait=True)

    for _ in range(4):
        desk.wait(8)
        desk.store.waiting(asked_for.session_id)
    desk.store.reap(3.0)

    assert desk.session(forgotten).reason == "Nobody asked for its place any more."
    assert desk.session(asked_for).status == "queued"


def test_a_tenant_has_no_more_open_sessions_than_its_quota() -> None:
    desk = Desk()
    desk.worker("w1", 5)
    first = desk.place(most_sessions=2)
    desk.place(most_sessions=2)

    third = desk.place(most_sessions=2)
    of_another = desk.place("college", most_sessions=2)
    desk.store.finish(first.session_id, 0, "ended", "over")
    after_one_ended = desk.place(most_sessions=2)

    assert third.outcome == "quota"
    assert of_another.outcome == "placed"
    assert after_one_ended.outcome == "placed"


def test_a_run_whose_lease_a_failover_forgot_is_adopted() -> None:
    desk = Desk()
    desk.worker("w1", 1)
    before = desk.store.clone()
    session = desk.live()
    desk.store.restore(before)

    pulse = desk.beat("w1", 1, [[session.session_id, session.generation, True]])

    assert pulse.revoked == ()
    assert desk.store.state.lease == {session.session_id: ("w1", session.generation)}
    assert desk.store.repairs() == {"adopted": 1}
    assert desk.store.check() == []


def test_generations_grow_across_a_failover_that_forgot_some() -> None:
    desk = Desk()
    desk.worker("w1", 3)
    before = desk.store.clone()
    lost = desk.session(desk.place())
    desk.store.restore(before)
    desk.wait(0.2)

    after = desk.session(desk.place())

    assert after.generation > lost.generation


def test_a_run_that_lost_its_lease_to_another_worker_is_revoked() -> None:
    desk = Desk()
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    placed = desk.place()
    first = desk.session(placed)
    desk.store.place_again(placed.session_id, first.generation)

    pulse = desk.beat(first.worker_id or "", 1, [[placed.session_id, first.generation, True]])

    assert pulse.revoked == ((placed.session_id, first.generation),)


def test_a_lease_that_its_worker_does_not_run_for_15_s_is_lost() -> None:
    desk = Desk()
    desk.worker("w1", 1)
    session = desk.live()

    for _ in range(3):
        desk.beat("w1", 1)
        desk.wait(5)
    still = desk.store.session(session.session_id)
    desk.beat("w1", 1)

    after = desk.store.session(session.session_id)
    assert still is not None
    assert still.status == "live"
    assert after is not None
    assert (after.status, after.reason) == ("failed", "Its worker does not run it.")
    assert desk.store.state.lease == {}


def test_a_silent_worker_loses_its_sessions() -> None:
    desk = Desk()
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    live = [desk.live(), desk.live()]

    for _ in range(4):
        desk.wait(5)
        desk.beat("w2", 1, [[one.session_id, one.generation, True] for one in live])

    reasons = {one.worker_id: desk.store.session(one.session_id) for one in live}
    silent = reasons["w1"]
    assert silent is not None
    assert silent.reason == "Its worker stopped answering."


def test_nobody_is_declared_dead_when_nobody_was_heard() -> None:
    desk = Desk()
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    live = [desk.live(), desk.live()]

    desk.wait(40)
    desk.store.reap(3.0)
    desk.wait(5)
    for one in live:
        desk.beat(one.worker_id or "", 1, [[one.session_id, one.generation, True]])

    assert [desk.store.state.status(one.session_id) for one in live] == ["live", "live"]


def test_a_worker_that_starts_four_is_passed_over_while_another_starts_fewer() -> None:
    desk = Desk()
    desk.worker("big", 20)
    desk.worker("small", 20)
    desk.beat("small", 20, late=40.0)

    workers = [desk.session(desk.place()).worker_id for _ in range(9)]

    assert workers[:4] == ["big"] * 4
    assert workers[4:8] == ["small"] * 4
    assert workers[8] is not None


def test_after_three_workers_nobody_else_is_tried() -> None:
    desk = Desk()
    for name in ("w1", "w2", "w3", "w4"):
        desk.worker(name, 1)
    placed = desk.place()

    again = [
        desk.store.place_again(placed.session_id, desk.session(placed).generation).outcome
        for _ in range(3)
    ]

    assert again == ["placed", "placed", "exhausted"]
    assert desk.store.state.lease == {}


def test_a_lesson_whose_live_session_is_on_a_dead_worker_gets_a_new_one() -> None:
    desk = Desk()
    for number in range(7):
        desk.worker(f"w{number}", 1)
    live = [desk.live(lesson=f"lesson-{number}") for number in range(6)]
    alive = ({f"w{n}" for n in range(7)} - {one.worker_id for one in live}).pop()

    for _ in range(3):
        desk.wait(5.1)
        desk.store.state.hb[alive] = desk.store.state.heard = desk.now
    last = max(live, key=lambda one: one.worker_id or "")
    again = desk.place(lesson=last.lesson_id)

    assert again.outcome == "placed"
    assert desk.session(again).worker_id == alive
