"""Random operations on a store's model, and on a real store beside it where there is one.

Every answer is compared, and after every operation the model's invariants must hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.services.ports import Placing, Pulse, Reaped, Store, Waiting
from ops.simulate.model import ModelStore

WORKERS = st.sampled_from(["w1", "w2", "w3", "w4"])
TENANTS = st.sampled_from(["ash", "birch", "cedar"])
WEIGHTS = {"ash": 1.0, "birch": 2.0, "cedar": 0.5}
PICK = st.integers(0, 30)
CLASSES = st.sampled_from([None, None, None, "c1", "c2"])
AGE = st.sampled_from(["own", "own", "own", "older", "newer"])
PASSING_MS = [1, 400, 3_000, 5_000, 14_999, 15_000, 15_001, 31_000, 3_600_001]
FACTS = {"region": "us-east-1", "zone": "a", "version": "1", "hardware": {}}
START_MS = 1_800_000_000_000


class Operations(RuleBasedStateMachine):
    """The model alone; a subclass puts a real store into ``real``."""

    real: Store | None = None

    def __init__(self) -> None:
        super().__init__()
        self.now = START_MS
        self.model = ModelStore(lambda: self.now)
        self.ids: list[str] = []
        self.hours = 0
        self.strangers = 0
        self.lives: dict[str, int] = {}

    def both(self, call: str, *given: Any) -> Any:
        """The model's answer, after the real store gave the same one."""
        expected = getattr(self.model, call)(*given)
        if self.real is not None:
            answer = getattr(self.real, call)(*given)
            assert comparable(answer) == comparable(expected), (call, given)
        return expected

    @initialize(slots=st.lists(st.sampled_from([1, 2, 5]), min_size=3, max_size=3))
    def workers_that_have_the_avatar(self, slots: list[int]) -> None:
        for number, count in enumerate(slots, 1):
            self._register(f"w{number}", "demo")
            own = self._registration(f"w{number}")
            self.both("heartbeat", f"w{number}", own, self._heard(count, 0.0, []))

    def _register(self, worker: str, avatars: str, same_life: bool = False) -> None:
        self.lives[worker] = self.lives.get(worker, 0) + (not same_life)
        boot = f"{worker}-{self.lives[worker]}"
        own = {"url": f"http://{worker}", "avatars": avatars, "boot": boot}
        self.both("register", worker, FACTS | own)

    @rule(
        worker=WORKERS,
        change=st.sampled_from(["register", "resume", "drain", "retire", "deregister"]),
        avatars=st.sampled_from(["demo", "demo,fox"]),
        stale=st.sampled_from([0, 0, 1]),
    )
    def a_worker_comes_or_goes(self, worker: str, change: str, avatars: str, stale: int) -> None:
        if change in ("register", "resume"):
            self._register(worker, avatars, same_life=change == "resume")
        elif change in ("drain", "retire"):
            self.both(change, worker)
        else:
            registration = self._registration(worker) - stale
            self.both("deregister", worker, registration)

    def _registration(self, worker: str) -> int:
        known = self.model.state.workers.get(worker)
        return known.registration if known else 1

    @rule(ms=st.sampled_from([1_000, 5_000, 5_000, 15_001]))
    def all_workers_beat(self, ms: int) -> None:
        self.now += ms
        for name, worker in sorted(self.model.state.workers.items()):
            runs = [[sid, self.model.state.lease[sid][1], True] for sid in self._runs_of(name)]
            slots = worker.slots or 3
            self.both("heartbeat", name, worker.registration, self._heard(slots, 0.0, runs))

    @rule(
        worker=WORKERS,
        slots=st.sampled_from([1, 2, 3, 3, 6]),
        late=st.sampled_from([0.0, 10.0, 40.0]),
        state=st.sampled_from(["ready", "ready", "ready", "draining"]),
        stale=st.sampled_from([0, 0, 0, 0, 1]),
        warm=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=2),
        others=st.lists(st.tuples(PICK, AGE, st.booleans()), max_size=2),
        skipped=st.sampled_from([0, 0, 1, 9]),
    )
    def heartbeat(
        self,
        worker: str,
        slots: int,
        late: float,
        state: str,
        stale: int,
        warm: list[tuple[int, bool]],
        others: list[tuple[int, str, bool]],
        skipped: int,
    ) -> None:
        own = self._runs_of(worker)
        runs = [[sid, self.model.state.lease[sid][1], True] for sid in own[skipped:]]
        named = {run[0] for run in runs}
        for pick, age, live in others:
            session_id = self._some(pick)
            if session_id is not None and session_id not in named:
                named.add(session_id)
                generation = self._generation(session_id, age) or self._unheard_of()
                runs.append([session_id, generation, live])
        registration = self._registration(worker) - stale
        heard = self._heard(slots, late, runs, state)
        heard["warm"] = [[f"s-t-warm{number:04d}", ready] for number, ready in dict(warm).items()]
        self.both("heartbeat", worker, registration, heard)

    @rule(worker=WORKERS, newest=st.booleans())
    def a_stranger_runs(self, worker: str, newest: bool) -> None:
        generation = self._unheard_of()
        if newest:
            generation = self.model.state.gen + 1_000_000
        runs = [[f"s-t-stranger{self.strangers:04d}", generation, True]]
        registration = self._registration(worker)
        known = self.model.state.workers.get(worker)
        slots = known.slots if known else 1
        self.both("heartbeat", worker, registration, self._heard(slots, 0.0, runs))

    @rule(
        tenant=TENANTS,
        lesson=st.integers(0, 20),
        avatar=st.sampled_from(["demo", "demo", "demo", "demo", "fox", "nobody"]),
        wait=st.sampled_from([True, True, True, False]),
        key=st.sampled_from([None, None, None, "k1", "k2"]),
        fingerprint=st.sampled_from(["f", "f", "g"]),
        most=st.sampled_from([0, 0, 0, 3]),
        warm=st.booleans(),
        distance=st.sampled_from([1.0, 0.5]),
        class_id=CLASSES,
    )
    def place(
        self,
        tenant: str,
        lesson: int,
        avatar: str,
        wait: bool,
        key: str | None,
        fingerprint: str,
        most: int,
        warm: bool,
        distance: float,
        class_id: str | None,
    ) -> None:
        ask = replace(
            an_ask(f"s-t-{len(self.ids):08d}", tenant, f"l{lesson}"),
            avatar=avatar,
            wait=wait,
            idempotency_key=key,
            fingerprint=fingerprint,
            weight=WEIGHTS[tenant],
            most_sessions=most,
            distance=distance,
            warm=warm,
            class_id=class_id,
        )
        self.ids.append(ask.session_id)
        placed = self.both("place", ask)
        if placed.outcome == "placed" and placed.session_id != ask.session_id:
            self.ids.append(placed.session_id)

    @rule(
        tenant=TENANTS,
        class_id=st.sampled_from(["c1", "c2"]),
        n=st.integers(0, 6),
        for_ms=st.sampled_from([0, 4_000, 600_000, 600_000, 200_000_000]),
    )
    def hold(self, tenant: str, class_id: str, n: int, for_ms: int) -> None:
        self.both("hold", tenant, class_id, n, (self.now + for_ms) / 1000)

    @rule(tenant=TENANTS, class_id=st.sampled_from(["c1", "c2"]))
    def unhold(self, tenant: str, class_id: str) -> None:
        self.both("unhold", tenant, class_id)

    @rule(
        values=st.dictionaries(
            WORKERS, st.sampled_from([0.0, -1.0, 0.3, 0.123456789, None]), max_size=3
        )
    )
    def order(self, values: dict[str, float | None]) -> None:
        self.both("order", values)

    @rule()
    def observe(self) -> None:
        self.both("observe")

    @rule(
        count=st.integers(2, 6),
        confirmed=st.integers(0, 6),
        tenant=TENANTS,
        class_id=CLASSES,
    )
    def a_class_begins(self, count: int, confirmed: int, tenant: str, class_id: str | None) -> None:
        for number in range(count):
            session_id = f"s-t-{len(self.ids):08d}"
            self.ids.append(session_id)
            ask = an_ask(session_id, tenant, f"class-{len(self.ids)}")
            ask = replace(ask, wait=True, weight=WEIGHTS[tenant], class_id=class_id)
            self.both("place", ask)
            if number < confirmed:
                self.both("confirm", session_id, self._generation(session_id, "own"))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def place_the_same_id(self, pick: int) -> None:
        self.both("place", an_ask(self._some(pick) or "", "ash", "another"))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, age=AGE, unable=st.booleans())
    def place_again(self, pick: int, age: str, unable: bool) -> None:
        session_id = self._some(pick)
        assert session_id is not None
        generation = self._generation(session_id, age)
        self.both("place_again", session_id, generation, unable)

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, age=AGE)
    def confirm(self, pick: int, age: str) -> None:
        session_id = self._some(pick)
        assert session_id is not None
        self.both("confirm", session_id, self._generation(session_id, age))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, age=st.sampled_from(["own", "older", "any"]), ended=st.booleans())
    def finish(self, pick: int, age: str, ended: bool) -> None:
        session_id = self._some(pick)
        assert session_id is not None
        generation = 0 if age == "any" else self._generation(session_id, age)
        self.both("finish", session_id, generation, "ended" if ended else "failed", "over")

    @rule()
    def reap(self) -> None:
        self.both("reap", 3.0)

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def wait_on(self, pick: int) -> None:
        self.both("waiting", self._some(pick))

    @rule(ms=st.sampled_from(PASSING_MS))
    def pass_time(self, ms: int) -> None:
        if ms > 3_600_000:
            self.hours += 1
        if self.hours < 20:  # the store itself forgets after a day
            self.now += ms

    @invariant()
    def the_model_keeps_its_invariants(self) -> None:
        assert self.model.check() == []

    def _some(self, pick: int) -> str | None:
        return self.ids[-1 - pick % len(self.ids)] if self.ids else None

    def _runs_of(self, worker: str) -> list[str]:
        """The sessions leased on it; what is held there does not run."""
        state = self.model.state
        return [one for one in state.on.get(worker, {}) if one not in state.held]

    def _generation(self, session_id: str, age: str) -> int:
        """Of a session; ``newer`` as if a failover had forgotten a lease. 0 if it has none."""
        kept = self.model.state.sessions.get(session_id)
        own = kept.session.generation if kept else 0
        newer = self.model.state.gen - own + 1_000_000
        return own + {"own": 0, "older": -1, "newer": newer}[age] if own else 0

    def _unheard_of(self) -> int:
        """A generation that no session has."""
        self.strangers += 1
        return self.strangers

    @staticmethod
    def _heard(slots: int, late: float, runs: list[Any], state: str = "ready") -> dict[str, Any]:
        return {
            "state": state,
            "slots": slots,
            "avatars": "demo",
            "late": late,
            "running": runs,
        }


def comparable(answer: Any) -> Any:
    """Answers without the order that means nothing, and floats to nine digits."""
    if isinstance(answer, Waiting):
        lines = sorted((li.tenant, round(li.turn, 9), li.weight, li.length) for li in answer.lines)
        pace = None if answer.pace_ms is None else round(answer.pace_ms, 6)
        return answer.tenant, answer.rank, lines, pace
    if isinstance(answer, Pulse):
        return answer.desired_state, sorted(answer.revoked), answer.handed, answer.warm
    if isinstance(answer, Reaped):
        return sorted(answer.undriven), answer.handed
    return answer


def an_ask(session_id: str, tenant: str, lesson: str) -> Placing:
    """A plain request for a lesson."""
    return Placing(
        session_id=session_id,
        tenant=tenant,
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
        execution=session_id,
    )
