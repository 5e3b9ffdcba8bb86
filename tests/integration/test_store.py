"""The store's scripts against a real Valkey: leases, fencing, idempotency, reaping."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import valkey

from control.adapters.store import ValkeyStore
from control.domain import placement
from control.services.ports import Placing, StoreAway

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
        self.cell = "t" + secrets.token_hex(4)
        self.store = ValkeyStore(url, self.cell, "us-east-1")
        self.raw = valkey.Valkey.from_url(url, decode_responses=True)
        self.registrations: dict[str, int] = {}

    def key(self, name: str) -> str:
        return f"{{{self.cell}}}:{name}"

    def worker(self, name: str, slots: int, **changes: Any) -> None:
        self.registrations[name] = self.store.register(name, FACTS | changes)
        self.beat(name, slots, avatars=changes.get("avatars", "demo"))

    def beat(self, name: str, slots: int, running: Any = (), **changes: Any) -> Any:
        heard = {"state": "ready", "slots": slots, "avatars": "demo", "late": 0.0}
        heard |= {"running": list(running), **changes}
        return self.store.heartbeat(name, self.registrations[name], heard)

    def ask(self, lesson: str, **changes: Any) -> Placing:
        given = Placing(
            session_id=f"s-{self.cell}-{secrets.token_hex(8)}",
            tenant="school",
            lesson_id=lesson,
            avatar="demo",
            distance=1.0,
            idempotency_key=None,
            fingerprint="f",
            room="r",
            livekit_url="ws://x",
            livekit_region="us-east-1",
            learner_identity="learner",
            learner_name=None,
            own_room_token=None,
            agent_identity=None,
            correlation_id=None,
            execution="x",
        )
        return replace(given, **changes)

    def used(self) -> dict[str, str]:
        return dict(self.raw.hgetall(self.key("used")))

    def run_out(self, session_id: str) -> None:
        self.raw.zadd(self.key("exp"), {session_id: 1})

    def silence(self, worker: str) -> None:
        self.raw.zadd(self.key("hb"), {worker: 1})
        self.raw.delete(self.key("grace"))


@pytest.fixture
def desk(valkey_url: str) -> Desk:
    return Desk(valkey_url)


def test_a_lesson_gets_one_session_however_often_it_is_asked_for(desk: Desk) -> None:
    desk.worker("w1", 4)

    first = desk.store.place(desk.ask("maths"))
    again = desk.store.place(desk.ask("maths"))

    assert (first[0], again[0]) == ("placed", "existing")
    assert first[1] == again[1]
    assert desk.used() == {"w1": "1"}


def test_the_same_lesson_of_another_tenant_is_another_lesson(desk: Desk) -> None:
    desk.worker("w1", 4)

    first = desk.store.place(desk.ask("maths"))
    other = desk.store.place(desk.ask("maths", tenant="college"))

    assert other[0] == "placed"
    assert other[1] != first[1]


def test_the_same_idempotency_key_of_another_tenant_is_another_key(desk: Desk) -> None:
    desk.worker("w1", 4)

    first = desk.store.place(desk.ask("a", idempotency_key="k"))
    other = desk.store.place(desk.ask("b", idempotency_key="k", tenant="college"))

    assert other[0] == "placed"
    assert other[1] != first[1]


def test_an_idempotency_key_finds_its_session_and_refuses_another_body(desk: Desk) -> None:
    desk.worker("w1", 4)
    first = desk.store.place(desk.ask("a", idempotency_key="k", fingerprint="1"))

    same = desk.store.place(desk.ask("a", idempotency_key="k", fingerprint="1"))
    other = desk.store.place(desk.ask("b", idempotency_key="k", fingerprint="2"))

    assert same == ("existing", first[1])
    assert other == ("conflict", first[1])


def test_the_script_chooses_what_the_domain_would(desk: Desk) -> None:
    desk.worker("busy", 4)
    desk.worker("late", 4)
    desk.worker("fit", 4)
    desk.store.place(desk.ask("x", avatar="demo"))
    for _ in range(20):
        desk.beat("late", 4, late=40.0)

    _, session_id = desk.store.place(desk.ask("y"))

    session = desk.store.session(session_id)
    assert session is not None
    candidates = [
        placement.Scored(
            one["worker_id"],
            one["distance"],
            one["load"],
            one["performance"],
            one["capacity"],
            one["holds_avatar"],
        )
        for one in session.why["candidates"]
    ]
    chosen = placement.choose(candidates)
    assert chosen is not None
    assert session.worker_id == chosen.worker_id
    scores = {one["worker_id"]: one["score"] for one in session.why["candidates"]}
    assert all(abs(scores[one.worker_id] - one.score) < 1e-9 for one in candidates)


def test_a_holder_of_the_avatar_wins_within_the_margin(desk: Desk) -> None:
    desk.worker("a-empty", 20, avatars="other")
    desk.beat("a-empty", 20, avatars="other")
    desk.worker("holder", 19)

    _, session_id = desk.store.place(desk.ask("x", avatar="demo"))

    session = desk.store.session(session_id)
    assert session is not None
    assert session.worker_id == "holder"


def test_32_clients_sell_every_slot_once(desk: Desk) -> None:
    for index in range(10):
        desk.worker(f"w{index}", 10)

    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(lambda i: desk.store.place(desk.ask(f"l{i}"))[0], range(160)))

    assert outcomes.count("placed") == 100
    assert outcomes.count("full") == 60
    assert set(desk.used().values()) == {"10"}


def test_a_second_end_gives_nothing_back_twice(desk: Desk) -> None:
    desk.worker("w1", 2)
    _, one = desk.store.place(desk.ask("a"))
    desk.store.place(desk.ask("b"))

    ended = [desk.store.finish(one, 0, "ended", "done") for _ in range(3)]

    assert ended == [True, False, False]
    assert desk.used() == {"w1": "1"}


def test_an_older_generation_cannot_end_or_confirm_the_session(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    _, session_id = desk.store.place(desk.ask("a"))
    before = desk.store.session(session_id)
    assert before is not None
    assert desk.store.place_again(session_id, before.generation) == "placed"

    assert not desk.store.activate(session_id, before.generation)
    assert not desk.store.finish(session_id, before.generation, "ended", "late word")

    after = desk.store.session(session_id)
    assert after is not None
    assert (after.status, after.generation > before.generation) == ("starting", True)
    assert after.worker_id != before.worker_id
    assert desk.store.activate(session_id, after.generation)


def test_placing_again_twice_for_one_failure_is_once(desk: Desk) -> None:
    for name in ("w1", "w2", "w3"):
        desk.worker(name, 1)
    _, session_id = desk.store.place(desk.ask("a"))

    desk.store.place_again(session_id, 1)
    second = desk.store.session(session_id)
    desk.store.place_again(session_id, 1)

    assert desk.store.session(session_id) == second


def test_after_three_workers_nobody_else_is_tried(desk: Desk) -> None:
    for name in ("w1", "w2", "w3", "w4"):
        desk.worker(name, 1)
    _, session_id = desk.store.place(desk.ask("a"))

    outcomes = [desk.store.place_again(session_id, 0) for _ in range(3)]

    assert outcomes == ["placed", "placed", "exhausted"]
    assert desk.used() == {}


def test_an_unconfirmed_lease_runs_out_and_its_slot_is_free(desk: Desk) -> None:
    desk.worker("w1", 1)
    _, session_id = desk.store.place(desk.ask("a"))
    desk.run_out(session_id)

    waiting = desk.store.reap(0.0)

    assert waiting == [session_id]
    assert desk.used() == {}
    assert desk.store.place(desk.ask("b"))[0] == "placed"


def test_a_live_lease_is_renewed_by_its_worker_alone(desk: Desk) -> None:
    desk.worker("w1", 1)
    desk.worker("w2", 1)
    _, session_id = desk.store.place(desk.ask("a"))
    session = desk.store.session(session_id)
    assert session is not None
    desk.store.activate(session_id, session.generation)
    other = "w2" if session.worker_id == "w1" else "w1"
    desk.raw.zadd(desk.key("exp"), {session_id: 9e15})
    before = desk.raw.zscore(desk.key("exp"), session_id)

    stranger = desk.beat(other, 1, [[session_id, session.generation, True]])

    assert stranger.revoked == ((session_id, session.generation),)
    assert desk.raw.zscore(desk.key("exp"), session_id) == before
    desk.raw.zadd(desk.key("exp"), {session_id: 9e12})
    owner = desk.beat(session.worker_id or "", 1, [[session_id, session.generation, True]])
    assert owner.revoked == ()


def test_a_silent_worker_loses_its_leases_and_gets_no_new_one(desk: Desk) -> None:
    desk.worker("w1", 2)
    _, session_id = desk.store.place(desk.ask("a"))
    session = desk.store.session(session_id)
    assert session is not None
    desk.store.activate(session_id, session.generation)
    desk.silence("w1")

    desk.store.reap(0.0)

    after = desk.store.session(session_id)
    assert after is not None
    assert (after.status, after.reason) == ("failed", "Its worker stopped answering.")
    assert desk.used() == {}
    assert desk.store.place(desk.ask("b"))[0] == "full"


def test_after_a_gap_of_the_store_nobody_is_declared_dead(desk: Desk) -> None:
    desk.worker("w1", 2)
    _, session_id = desk.store.place(desk.ask("a"))
    desk.silence("w1")
    desk.raw.delete(desk.key("heard"))

    desk.store.reap(0.0)

    session = desk.store.session(session_id)
    assert session is not None
    assert session.status == "starting"
    assert desk.used() == {"w1": "1"}


def test_a_drained_worker_gets_no_new_lease(desk: Desk) -> None:
    desk.worker("w1", 2)

    assert desk.store.drain("w1")

    assert desk.beat("w1", 2).desired_state == "draining"
    assert desk.store.place(desk.ask("a"))[0] == "full"


def test_an_older_instance_is_refused(desk: Desk) -> None:
    desk.worker("w1", 2)
    old = desk.registrations["w1"]
    desk.worker("w1", 2)

    assert desk.store.heartbeat("w1", old, {"running": []}) is None
    assert not desk.store.deregister("w1", old)


def test_a_heartbeat_never_touches_what_is_leased(desk: Desk) -> None:
    desk.worker("w1", 3)
    desk.store.place(desk.ask("a"))

    desk.beat("w1", 3, running=[])
    desk.beat("w1", 3, running=[])

    assert desk.used() == {"w1": "1"}


def test_every_change_of_status_reaches_the_outbox_until_it_is_sent(desk: Desk) -> None:
    desk.worker("w1", 1)
    _, session_id = desk.store.place(desk.ask("a"))
    desk.store.finish(session_id, 0, "ended", "done")

    entries = desk.store.outbox(10)
    desk.store.sent(entries)

    assert len(entries) == 2
    assert '"status":"ended"' in entries[1]
    assert desk.store.outbox(10) == []


def test_a_page_is_newest_first_and_of_one_tenant(desk: Desk) -> None:
    desk.worker("w1", 9)
    for lesson in ("a", "b", "c"):
        desk.store.place(desk.ask(lesson))
    desk.store.place(desk.ask("x", tenant="college"))

    mine, cursor = desk.store.page("school", None, 50)

    assert [one.lesson_id for one in mine] == ["c", "b", "a"]
    assert cursor is None


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
