"""The store's scripts against a real Valkey: leases, fencing, queue, reconciliation, reaping."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import valkey

from control.adapters.store import ValkeyStore
from control.domain import placement
from control.domain.queueing import position
from control.domain.session import Session
from control.services.ports import Placed, Placing, StoreAway

FACTS: dict[str, Any] = {
    "url": "http://127.0.0.1:1",
    "region": "us-east-1",
    "zone": "a",
    "version": "1",
    "avatars": "demo",
    "hardware": {},
}


class Desk:
    """A store of a cell of its own, with shortcuts and a hand on its clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cell = "t" + secrets.token_hex(4)
        self.now_ms = 1_795_000_000_000
        self.store = ValkeyStore(url, self.cell, "us-east-1", clock=lambda: self.now_ms)
        self.raw = valkey.Valkey.from_url(url, decode_responses=True)
        self.registrations: dict[str, int] = {}
        self.boots: dict[str, str] = {}

    def key(self, name: str) -> str:
        return f"{{{self.cell}}}:{name}"

    def worker(self, name: str, slots: int, **changes: Any) -> None:
        self.boots[name] = secrets.token_hex(8)
        facts = FACTS | {"boot": self.boots[name]} | changes
        self.registrations[name] = self.store.register(name, facts)
        self.beat(name, slots, avatars=changes.get("avatars", "demo"))

    def beat(self, name: str, slots: int, running: Any = (), **changes: Any) -> Any:
        heard = {"state": "ready", "slots": slots, "avatars": "demo", "late": 0.0}
        heard |= {"running": list(running), **changes}
        return self.store.heartbeat(name, self.registrations[name], heard)

    def pass_s(self, seconds: float, *alive: str, slots: int = 1) -> None:
        """Time passes; the workers named beat every five seconds and run what they lease."""
        until = self.now_ms + int(seconds * 1000)
        while self.now_ms < until:
            self.now_ms = min(until, self.now_ms + 5000)
            for name in alive:
                self.beat(name, slots, self.running(name))

    def running(self, name: str) -> list[list[Any]]:
        on = self.raw.smembers(self.key(f"on:{name}"))
        leased = [self.session(sid) for sid in on if sid.startswith("s-")]  # held slots do not run
        return [[one.session_id, one.generation, True] for one in leased]

    def ask(self, lesson: str, **changes: Any) -> Placing:
        given = Placing(
            session_id=f"s-{self.cell}-{secrets.token_hex(8)}",
            tenant="school",
            lesson_id=lesson,
            avatar="demo",
            distance=1.0,
            idempotency_key=None,
            fingerprint="f",
            livekit_url="ws://x",
            livekit_region="us-east-1",
            learner_identity="learner",
            learner_name=None,
            own_room_token=None,
            agent_identity=None,
            correlation_id=None,
        )
        return replace(given, **changes)

    def place(self, lesson: str, **changes: Any) -> Placed:
        return self.store.place(self.ask(lesson, **changes))

    def session(self, session_id: str) -> Session:
        found = self.store.session(session_id)
        assert found is not None
        return found

    def live(self, lesson: str, **changes: Any) -> Session:
        """A placed session whose first frame was seen."""
        session = self.session(self.place(lesson, **changes).session_id)
        assert self.store.confirm(session.session_id, session.generation)
        return self.session(session.session_id)

    def used(self) -> dict[str, str]:
        return dict(self.raw.hgetall(self.key("used")))


@pytest.fixture
def desk(valkey_url: str) -> Desk:
    return Desk(valkey_url)


# affinity and idempotency


def test_a_lesson_gets_one_session_however_often_it_is_asked_for(desk: Desk) -> None:
    desk.worker("w1", 4)

    first, again = desk.place("maths"), desk.place("maths")

    assert (first.outcome, again.outcome) == ("placed", "existing")
    assert first.session_id == again.session_id
    assert desk.used() == {"w1": "1"}


def test_the_same_lesson_of_another_tenant_is_another_lesson(desk: Desk) -> None:
    desk.worker("w1", 4)

    first, other = desk.place("maths"), desk.place("maths", tenant="college")

    assert other.outcome == "placed"
    assert other.session_id != first.session_id


def test_the_same_idempotency_key_of_another_tenant_is_another_key(desk: Desk) -> None:
    desk.worker("w1", 4)

    first = desk.place("a", idempotency_key="k")
    other = desk.place("b", idempotency_key="k", tenant="college")

    assert other.outcome == "placed"
    assert other.session_id != first.session_id


def test_an_idempotency_key_finds_its_session_and_refuses_another_body(desk: Desk) -> None:
    desk.worker("w1", 4)
    first = desk.place("a", idempotency_key="k", fingerprint="1")

    same = desk.place("a", idempotency_key="k", fingerprint="1")
    other = desk.place("b", idempotency_key="k", fingerprint="2")

    assert (same.outcome, same.session_id) == ("existing", first.session_id)
    assert (other.outcome, other.session_id) == ("conflict", first.session_id)


def test_a_dead_workers_lesson_is_placed_anew_at_once(desk: Desk) -> None:
    desk.worker("w1", 4)
    before = desk.live("maths")
    desk.worker("w2", 4)
    desk.pass_s(15, "w2", slots=4)  # every heartbeat reaps as well, so the old one may be gone

    anew = desk.place("maths")

    assert anew.outcome == "placed"
    assert desk.session(anew.session_id).worker_id == "w2"
    assert desk.session(before.session_id).status == "failed"
    assert desk.used() == {"w2": "1"}


def test_neither_lesson_nor_key_leads_to_a_worker_that_has_just_died(desk: Desk) -> None:
    desk.worker("w1", 4)
    before = desk.live("maths", idempotency_key="k")
    desk.worker("w2", 4)
    desk.pass_s(10, "w2", slots=4)
    desk.now_ms += 4_950
    desk.beat("w2", 4)  # reaps, a moment too early
    desk.now_ms += 50

    anew = desk.place("maths", idempotency_key="k")

    assert anew.outcome == "placed"
    assert desk.session(anew.session_id).worker_id == "w2"
    assert desk.session(before.session_id).status == "failed"


# warm rooms


def test_a_session_takes_the_name_of_a_warm_room_of_its_worker_once(desk: Desk) -> None:
    desk.worker("w1", 4)
    warm = f"s-{desk.cell}-warm0001"
    told = [[warm, True], [f"s-{desk.cell}-warm0002", False]]
    desk.beat("w1", 4, warm=told)

    first, second = desk.place("a", warm=True), desk.place("b", warm=True)

    assert first.session_id == warm
    assert desk.session(warm).room == warm
    assert desk.session(warm).execution == warm
    assert second.session_id not in [name for name, _ in told]
    # the worker has not heard of it yet, and says it again
    pulse = desk.beat("w1", 4, desk.running("w1"), warm=told)
    assert pulse.warm == (f"s-{desk.cell}-warm0002",)
    assert desk.place("c", warm=True).session_id != warm


def test_a_session_with_a_room_of_its_own_takes_no_warm_one(desk: Desk) -> None:
    desk.worker("w1", 4)
    warm = f"s-{desk.cell}-warm0001"
    desk.beat("w1", 4, warm=[[warm, True]])

    placed = desk.place("a", own_room_token="x" * 40)

    assert placed.session_id != warm
    assert desk.session(placed.session_id).room is None
    assert desk.place("b", warm=True).session_id == warm


def test_the_warm_rooms_of_a_workers_former_life_are_forgotten(desk: Desk) -> None:
    desk.worker("w1", 4)
    warm = f"s-{desk.cell}-warm0001"
    desk.beat("w1", 4, warm=[[warm, True]])

    desk.worker("w1", 4)

    assert desk.place("a", warm=True).session_id != warm


# the choice


def test_the_script_chooses_what_the_domain_would(desk: Desk) -> None:
    desk.worker("busy", 4)
    desk.place("x")
    desk.worker("late", 4)
    desk.worker("fit", 4)
    for _ in range(20):
        desk.beat("late", 4, late=40.0)

    session = desk.session(desk.place("y").session_id)

    candidates = [
        placement.terms(
            one["worker_id"],
            session.why["distance"],
            one["slots"],
            one["used"],
            one["late"],
            one["holds_avatar"],
            one["starts"],
            one["order"],
        )
        for one in session.why["candidates"]
    ]
    chosen = placement.choose(candidates)
    assert chosen is not None
    assert session.worker_id == session.why["chosen"] == chosen.worker_id == "fit"
    kept = dict(desk.raw.zrange(desk.key("free"), 0, -1, withscores=True))
    assert {one.worker_id: one.base for one in candidates if one.worker_id != "fit"} == {
        name: score for name, score in kept.items() if name != "fit"
    }


def test_a_holder_of_the_avatar_wins_within_the_margin(desk: Desk) -> None:
    desk.worker("z-empty", 20, avatars="other")
    desk.beat("z-empty", 20, avatars="other")
    desk.worker("holder", 19)

    assert desk.session(desk.place("x").session_id).worker_id == "holder"


def test_a_worker_that_would_have_to_load_the_avatar_comes_after_one_that_holds_it(
    desk: Desk,
) -> None:
    desk.worker("z-empty", 2, avatars="~demo,fox")
    desk.worker("holder", 1, avatars="demo,~fox")

    names = [desk.session(desk.place(x).session_id).worker_id for x in "ab"]

    assert names == ["holder", "z-empty"]
    assert desk.store.workers()[-1]["avatars"] == "demo,fox"


def test_a_worker_with_many_starts_lets_others_go_first(desk: Desk) -> None:
    desk.worker("big", 24)
    for at in range(placement.START_CAP):
        desk.place(f"start {at}")
    desk.worker("small", 2)

    first, second, third = (desk.session(desk.place(x).session_id).worker_id for x in "abc")

    assert (first, second, third) == ("small", "small", "big")


def test_32_clients_sell_every_slot_once(desk: Desk) -> None:
    for index in range(10):
        desk.worker(f"w{index}", 10)

    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(lambda i: desk.place(f"l{i}").outcome, range(160)))

    assert outcomes.count("placed") == 100
    assert outcomes.count("full") == 60
    assert set(desk.used().values()) == {"10"}


def test_a_class_that_starts_at_once_is_spread_by_what_is_taken_already(desk: Desk) -> None:
    for index in range(5):
        desk.worker(f"w{index}", 24)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: desk.place(f"pupil {i}"), range(60)))

    assert desk.used() == {f"w{index}": "12" for index in range(5)}


def test_requests_for_one_lesson_at_the_same_instant_get_one_session(desk: Desk) -> None:
    desk.worker("w1", 24)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: desk.place("the same"), range(48)))

    assert [one.outcome for one in answers].count("placed") == 1
    assert len({one.session_id for one in answers}) == 1
    assert desk.used() == {"w1": "1"}


# leases


def test_a_second_end_gives_nothing_back_twice(desk: Desk) -> None:
    desk.worker("w1", 2)
    one = desk.place("a").session_id
    desk.place("b")

    ended = [desk.store.finish(one, 0, "ended", "done").changed for _ in range(3)]

    assert ended == [True, False, False]
    assert desk.used() == {"w1": "1"}


def test_an_older_generation_cannot_end_or_confirm_the_session(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    before = desk.session(desk.place("a").session_id)
    assert desk.store.place_again(before.session_id, before.generation).outcome == "placed"

    assert not desk.store.confirm(before.session_id, before.generation)
    assert not desk.store.finish(before.session_id, before.generation, "ended", "late").changed

    after = desk.session(before.session_id)
    assert (after.status, after.generation > before.generation) == ("starting", True)
    assert after.worker_id != before.worker_id
    assert desk.store.confirm(after.session_id, after.generation)


def test_generations_grow_although_a_failover_forgot_some(desk: Desk) -> None:
    desk.worker("w1", 2)
    before = desk.session(desk.place("a").session_id)
    desk.raw.delete(desk.key("gen"))  # what an old replica would say
    desk.now_ms += 1

    after = desk.session(desk.place("b").session_id)

    assert after.generation > before.generation


def test_placing_again_twice_for_one_failure_is_once(desk: Desk) -> None:
    for name in ("w1", "w2", "w3"):
        desk.worker(name, 1)
    first = desk.session(desk.place("a").session_id)

    desk.store.place_again(first.session_id, first.generation)
    second = desk.session(first.session_id)
    desk.store.place_again(first.session_id, first.generation)

    assert desk.session(first.session_id) == second
    assert second.why["excluded"] == [first.worker_id]


def test_after_three_workers_nobody_else_is_tried(desk: Desk) -> None:
    for name in ("w1", "w2", "w3", "w4"):
        desk.worker(name, 1)
    session_id = desk.place("a").session_id

    outcomes = [desk.store.place_again(session_id, 0).outcome for _ in range(3)]

    assert outcomes == ["placed", "placed", "exhausted"]
    assert desk.used() == {}


def test_a_waiting_session_goes_back_to_where_it_stood_when_no_worker_can(desk: Desk) -> None:
    desk.worker("w1", 1)
    held = desk.place("held").session_id
    first = desk.place("first", wait=True).session_id
    second = desk.place("second", wait=True).session_id
    desk.store.finish(held, 0, "ended", "done")

    outcome = desk.store.place_again(first, desk.session(first).generation, unable=True).outcome

    assert outcome == "queued"
    assert desk.used() == {}
    again = desk.session(first)
    assert (again.status, again.worker_id, again.execution) == ("queued", None, f"{first}-1")
    assert desk.store.reap(0.0).handed == ()
    assert desk.beat("w1", 1).handed == (first,)
    assert desk.session(second).status == "queued"


def test_a_session_that_does_not_wait_is_not_queued_by_its_setup(desk: Desk) -> None:
    desk.worker("w1", 1)
    placed = desk.place("a").session_id

    assert desk.store.place_again(placed, desk.session(placed).generation).outcome == "full"
    assert desk.session(placed).status == "starting"


def test_a_worker_that_is_unable_gets_nobody_until_it_beats(desk: Desk) -> None:
    desk.worker("w1", 5)
    first = desk.place("a").session_id
    desk.worker("w2", 1)
    desk.store.place_again(first, desk.session(first).generation, unable=True)

    assert desk.session(first).worker_id == "w2"
    assert desk.place("b").outcome == "full"
    desk.beat("w1", 5)
    assert desk.place("b").outcome == "placed"


def test_an_unconfirmed_lease_runs_out_and_its_slot_is_free(desk: Desk) -> None:
    desk.worker("w1", 1)
    session_id = desk.place("a").session_id
    desk.now_ms += 10_000
    desk.beat("w1", 1)
    desk.now_ms += 5_000

    undriven = desk.store.reap(0.0).undriven

    assert undriven == (session_id,)
    assert desk.used() == {}
    assert desk.place("b").outcome == "placed"


def test_a_live_lease_is_renewed_by_its_worker_alone(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    session = desk.live("a")
    other = "w2" if session.worker_id == "w1" else "w1"
    run = [session.session_id, session.generation, True]
    before = desk.raw.zscore(desk.key("exp"), session.session_id)
    desk.now_ms += 1_000

    stranger = desk.beat(other, 1, [run])
    unchanged = desk.raw.zscore(desk.key("exp"), session.session_id)
    owner = desk.beat(str(session.worker_id), 1, [run])
    renewed = desk.raw.zscore(desk.key("exp"), session.session_id)

    assert stranger.revoked == ((session.session_id, session.generation),)
    assert owner.revoked == ()
    assert (unchanged, renewed) == (before, before + 1_000)


def test_a_silent_worker_loses_its_leases_and_gets_no_new_one(desk: Desk) -> None:
    desk.worker("w1", 2)
    session = desk.live("a")
    desk.worker("w2", 0)
    desk.pass_s(15, "w2", slots=0)

    after = desk.session(session.session_id)

    assert (after.status, after.reason) == ("failed", "Its worker stopped answering.")
    assert desk.used() == {}
    assert desk.place("b").outcome == "full"


def test_after_a_gap_of_the_store_nobody_is_declared_dead(desk: Desk) -> None:
    desk.worker("w1", 2)
    desk.worker("w2", 2)
    session = desk.live("a")
    desk.now_ms += 60_000  # nobody could be heard

    desk.store.reap(0.0)
    desk.beat("w2", 2)
    desk.now_ms += 14_000
    desk.store.reap(0.0)

    assert desk.session(session.session_id).status == "live"
    assert desk.used() == {str(session.worker_id): "1"}


def test_a_worker_that_shrinks_below_what_it_runs_keeps_it_and_gets_no_more(desk: Desk) -> None:
    desk.worker("w1", 3)
    runs = [[one.session_id, one.generation, True] for one in map(desk.live, "ab")]

    reply = desk.beat("w1", 1, runs)

    assert reply.revoked == ()
    assert desk.used() == {"w1": "2"}
    assert desk.place("c").outcome == "full"


def test_a_drained_worker_gets_no_new_lease(desk: Desk) -> None:
    desk.worker("w1", 2)

    assert desk.store.drain("w1")

    assert desk.beat("w1", 2).desired_state == "draining"
    assert desk.place("a").outcome == "full"


def test_an_older_instance_is_refused(desk: Desk) -> None:
    desk.worker("w1", 2)
    old = desk.registrations["w1"]
    desk.worker("w1", 2)
    heard = {"state": "ready", "slots": 9, "avatars": "demo", "late": 0.0, "running": []}

    assert desk.store.heartbeat("w1", old, heard) is None
    assert not desk.store.deregister("w1", old)
    assert desk.store.workers()[0]["slots"] == 2


def test_a_registration_that_is_told_twice_loses_nothing(desk: Desk) -> None:
    desk.worker("w1", 2)
    session = desk.live("a")
    first = desk.registrations["w1"]

    again = desk.store.register("w1", FACTS | {"boot": desk.boots["w1"]})

    assert again == first
    assert desk.beat("w1", 2, desk.running("w1")).revoked == ()
    assert desk.session(session.session_id).status == "live"


# reconciliation


def test_a_heartbeat_never_touches_what_is_leased(desk: Desk) -> None:
    desk.worker("w1", 3)
    desk.place("a")

    desk.beat("w1", 3, running=[])
    desk.beat("w1", 3, running=[])

    assert desk.used() == {"w1": "1"}


def test_a_live_lease_its_worker_does_not_run_is_lost_after_the_grace(desk: Desk) -> None:
    desk.worker("w1", 3)
    session = desk.live("a")

    for _ in range(3):
        desk.beat("w1", 3)
        assert desk.session(session.session_id).status == "live"
        desk.now_ms += 5_000
    desk.beat("w1", 3)

    after = desk.session(session.session_id)
    assert (after.status, after.reason) == ("failed", "Its worker does not run it.")
    assert desk.store.repairs() == {"unrun": 1}


@pytest.mark.parametrize("lost", ["the lease", "the session as well"])
def test_what_runs_is_adopted_when_a_failover_forgot_it(desk: Desk, lost: str) -> None:
    desk.worker("w1", 1)
    session = desk.live("a")
    desk.raw.delete(desk.key("used"), desk.key("on:w1"), desk.key("exp"))
    if lost == "the session as well":
        desk.raw.delete(desk.key(f"s:{session.session_id}"), desk.key("gen"))

    reply = desk.beat("w1", 1, [[session.session_id, session.generation, True]])

    assert reply.revoked == ()
    assert desk.used() == {"w1": "1"}
    assert desk.session(session.session_id).status == "live"
    assert desk.store.repairs() == {"adopted": 1}
    assert desk.place("b").outcome == "full"
    assert int(desk.raw.get(desk.key("gen"))) >= session.generation


def test_a_run_that_ended_here_is_revoked_and_counted(desk: Desk) -> None:
    desk.worker("w1", 1)
    session = desk.live("a")
    desk.store.finish(session.session_id, 0, "ended", "done")

    reply = desk.beat("w1", 1, [[session.session_id, session.generation, True]])

    assert reply.revoked == ((session.session_id, session.generation),)
    assert desk.store.repairs() == {"revoked": 1}
    assert desk.used() == {}


# the queue


def test_who_waits_is_queued_and_gets_the_slot_in_the_step_that_frees_it(desk: Desk) -> None:
    desk.worker("w1", 1)
    first = desk.place("a")

    second, third = desk.place("b", wait=True), desk.place("c", wait=True)
    ended = desk.store.finish(first.session_id, 0, "ended", "done")

    assert (second.outcome, third.outcome) == ("queued", "queued")
    assert ended.handed == (second.session_id,)
    assert desk.session(second.session_id).status == "starting"
    assert desk.session(third.session_id).status == "queued"
    assert desk.used() == {"w1": "1"}


def test_nobody_passes_the_queue(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.place("a")
    waits = desk.place("b", wait=True)
    desk.worker("w2", 1)  # its first heartbeat hands the slot over

    late = desk.place("c")

    assert late.outcome == "full"
    assert desk.session(waits.session_id).worker_id == "w2"


def test_tenants_take_turns_by_weight_and_their_own_in_order(desk: Desk) -> None:
    desk.worker("w1", 1)
    current = desk.place("a").session_id
    crowd = [desk.place(f"x{n}", wait=True, tenant="crowd").session_id for n in range(6)]
    half = [desk.place(f"y{n}", wait=True, tenant="two", weight=2.0).session_id for n in range(4)]

    served = []
    while handed := desk.store.finish(current, 0, "ended", "done").handed:
        (current,) = handed
        served.append(current)

    assert [one for one in served if one in crowd] == crowd
    assert [one for one in served if one in half] == half
    assert {one in half for one in served[:2]} == {True, False}
    assert sum(one in half for one in served[:6]) == 4


def test_a_place_in_the_queue_is_told_and_kept_by_asking(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.live("a")
    first = desk.place("b", wait=True).session_id
    second = desk.place("c", wait=True).session_id
    desk.pass_s(20, "w1")
    standing = desk.store.waiting(second)
    desk.pass_s(20, "w1")

    assert standing is not None
    assert position(standing.tenant, standing.rank, standing.lines) == 2
    assert desk.session(first).reason == "Nobody asked for its place any more."
    assert desk.session(second).status == "queued"


def test_leaving_the_queue_leaves_nothing(desk: Desk) -> None:
    desk.worker("w1", 1)
    current = desk.place("a").session_id
    waits = desk.place("b", wait=True).session_id

    desk.store.finish(waits, 0, "ended", "left")

    assert desk.store.finish(current, 0, "ended", "done").handed == ()
    assert desk.store.waiting(waits) is None
    left = {"turns", "tickets", "q:school", "open", "used", "exp", "starting"}
    assert not [name for name in left if desk.raw.exists(desk.key(name))]


def test_a_tenant_has_no_more_sessions_than_its_quota(desk: Desk) -> None:
    desk.worker("w1", 9)
    one = desk.place("a", most_sessions=2).session_id
    desk.place("b", most_sessions=2)

    third = desk.place("c", most_sessions=2)
    other = desk.place("c", most_sessions=2, tenant="college")
    desk.store.finish(one, 0, "ended", "done")

    assert (third.outcome, other.outcome) == ("quota", "placed")
    assert desk.place("c", most_sessions=2).outcome == "placed"


def test_requests_beyond_a_tenants_rate_wait_for_the_next_second(desk: Desk) -> None:
    waits = [desk.store.spend("school", 3) for _ in range(4)]
    desk.now_ms += 1_000

    assert waits == [0, 0, 0, 1.0]
    assert desk.store.spend("school", 3) == 0


# records


def test_what_changed_stays_in_the_outbox_until_it_is_sent(desk: Desk) -> None:
    desk.worker("w1", 1)
    session_id = desk.place("a").session_id
    before = desk.store.outbox(10)
    desk.store.finish(session_id, 0, "ended", "done")

    desk.store.sent(before)
    after = desk.store.outbox(10)
    desk.store.sent(after)

    assert [json.loads(one)["status"] for one in before + after] == ["starting", "ended"]
    assert desk.store.outbox(10) == []


def test_a_page_is_newest_first_and_of_one_tenant(desk: Desk) -> None:
    desk.worker("w1", 9)
    for lesson in ("a", "b", "c"):
        desk.place(lesson)
    desk.place("x", tenant="college")

    mine, cursor = desk.store.page("school", None, 50)
    newest, further = desk.store.page("school", None, 2)
    rest, _ = desk.store.page("school", further, 2)

    assert [one.lesson_id for one in mine] == ["c", "b", "a"]
    assert cursor is None
    assert [one.lesson_id for one in newest + rest] == ["c", "b", "a"]


def test_changes_for_peers_are_bounded(desk: Desk) -> None:
    desk.worker("w1", 40)
    desk.raw.zadd(desk.key("changes"), {f"old {n}": n for n in range(10_050)})

    for number in range(16):
        desk.place(f"new {number}")

    assert desk.raw.zcard(desk.key("changes")) <= 10_016
    assert desk.raw.zscore(desk.key("changes"), "old 0") is None


def test_a_worker_leaves_although_a_failover_forgot_its_last_registration(desk: Desk) -> None:
    desk.worker("w1", 2)

    assert desk.store.deregister("w1", desk.registrations["w1"] + 1)
    assert desk.store.workers() == []


def test_lists_forget_what_expired(desk: Desk) -> None:
    desk.worker("w1", 40)
    old = [desk.place(f"old {n}").session_id for n in range(3)]
    for session_id in old:
        desk.store.finish(session_id, 0, "ended", "done")
        desk.raw.delete(desk.key(f"s:{session_id}"))  # a day later
    kept = desk.place("kept").session_id

    desk.store.reap(0.0)
    for number in range(16):
        desk.place(f"new {number}")

    assert desk.raw.zrange(desk.key("sessions"), 0, 0) == [kept]
    assert desk.raw.zrange(desk.key("tenant:school"), 0, 0) == [kept]


def test_a_store_that_is_away_is_told() -> None:
    store = ValkeyStore("redis://127.0.0.1:1/0", "x", "us-east-1")

    with pytest.raises(StoreAway):
        store.ping()


def test_a_cached_key_is_forgotten_when_it_expires(desk: Desk) -> None:
    desk.store.put_key("a", {"tenant": "school", "role": "client", "left_s": 7.0})
    desk.store.put_key("b", {"tenant": "school", "role": "client", "left_s": None})
    desk.store.put_key("nobody's", {})

    lives_s = [desk.raw.pttl(desk.key(f"key:{name}")) / 1000 for name in ("a", "b", "nobody's")]

    assert lives_s[0] <= 7 < lives_s[1] <= 3600
    assert 0 < lives_s[2] <= 30  # a key made a moment later is soon found
