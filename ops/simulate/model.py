"""A store in plain Python that does what docs/store.md says, for simulations and tests."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from control.domain import leases
from control.domain.queueing import Line
from control.domain.session import Session
from control.services.ports import (
    Ended,
    Outcome,
    Placed,
    Placing,
    Reaped,
    Waiting,
)
from ops.simulate.beats import Beats
from ops.simulate.holds import Choice
from ops.simulate.state import Kept, State, problems, snapshot
from ops.simulate.steps import FINISHED_MS, TICKET_MS

SESSION_MS = int(leases.SESSION_TTL_S * 1000)
KEY_MS, NO_KEY_MS = 3_600_000, 30_000
RECORDED = (
    "tenant", "lesson_id", "avatar", "status", "region", "worker_id", "generation",
    "created_ms", "ended_ms", "reason",
)  # fmt: skip


class ModelStore(Beats):
    """The Store port; ``now_ms`` is the store's clock in Unix milliseconds."""

    def __init__(self, now_ms: Callable[[], int], region: str = "us-east-1") -> None:
        super().__init__(now_ms, region)
        self.well = True

    def place(self, ask: Placing) -> Placed:
        self._forget()
        self._reap_a_little()
        handed = self._hand()
        known = self._known(ask)
        if known is not None:
            return Placed(*known, handed)
        state = self.state
        if state.avatars and ask.avatar not in state.avatars:
            return Placed("unknown-avatar", "", handed)
        if 0 < ask.most_sessions <= state.open.get(ask.tenant, 0):
            return Placed("quota", "", handed)
        chosen, seen, spare = self._choice(ask)
        if chosen is None and not (ask.wait and len(state.tickets) < leases.MOST_QUEUED):
            return Placed("full", "", handed)
        if chosen is not None and ask.warm:
            ask = self._into_warm(ask, chosen)
        self._keep(self._born(ask), ask.distance, ask.weight if ask.wait else None)
        state.lessons[(ask.tenant, ask.lesson_id)] = ask.session_id
        self._remember_key(ask, ask.session_id)
        if chosen is not None:
            self._take(ask.session_id, chosen, seen, spare)
            return Placed("placed", ask.session_id, handed)
        self._enqueue(ask.session_id, ask.tenant, ask.weight)
        self._record(ask.session_id)
        return Placed("queued", ask.session_id, handed)

    def _choice(self, ask: Placing) -> Choice:
        """Who waits goes first, but for slots that are held for the class."""
        named = None if ask.class_id is None else (ask.tenant, ask.class_id)
        if self.state.turns:
            return self._choose_held(named, ask.avatar, set())
        return self._choose_for(named, ask.avatar, set())

    def _into_warm(self, ask: Placing, worker_id: str) -> Placing:
        """The name of a room that the chosen worker sits in, where it has one."""
        names = self.state.warm.get(worker_id, [])
        if not names:
            return ask
        name = names.pop(0)
        return ask if name in self.state.sessions else replace(ask, session_id=name)

    def _known(self, ask: Placing) -> tuple[Outcome, str] | None:
        """The session this request already has, by key, lesson or id."""
        state = self.state
        if ask.idempotency_key is not None:
            known = state.idem.get((ask.tenant, ask.idempotency_key))
            if known is not None and known[2] > self.now_ms():
                if known[1] != ask.fingerprint:
                    return "conflict", known[0]
                if known[0] in state.sessions and not self._on_dead_worker(known[0]):
                    return "existing", known[0]
        current = state.lessons.get((ask.tenant, ask.lesson_id))
        if current is not None and self._is_open(current):
            if not self._on_dead_worker(current):
                self._remember_key(ask, current)
                return "existing", current
            self._finish(current, "failed", "Its worker stopped answering.")
        if ask.session_id in state.sessions:
            return "existing", ask.session_id
        return None

    def _on_dead_worker(self, session_id: str) -> bool:
        session = self.state.sessions[session_id].session
        return session.status == "live" and not self._alive(session.worker_id or "")

    def _remember_key(self, ask: Placing, session_id: str) -> None:
        if ask.idempotency_key is not None:
            until = self.now_ms() + FINISHED_MS
            known = (session_id, ask.fingerprint, until)
            self.state.idem[(ask.tenant, ask.idempotency_key)] = known

    def _born(self, ask: Placing) -> Session:
        now = self.now_ms()
        return Session(
            session_id=ask.session_id,
            tenant=ask.tenant,
            lesson_id=ask.lesson_id,
            avatar=ask.avatar,
            status="queued",
            region=self.region,
            worker_id=None,
            worker_url="",
            worker_registration=0,
            generation=0,
            placements=0,
            created_ms=now,
            expires_ms=now + SESSION_MS,
            ended_ms=None,
            reason=None,
            room=ask.session_id if ask.own_room_token is None else None,
            livekit_url=ask.livekit_url,
            livekit_region=ask.livekit_region,
            learner_identity=ask.learner_identity,
            learner_name=ask.learner_name,
            own_room_token=ask.own_room_token,
            agent_identity=ask.agent_identity,
            correlation_id=ask.correlation_id,
            execution=ask.execution or ask.session_id,
            class_id=ask.class_id,
        )

    def place_again(self, session_id: str, generation: int, unable: bool = False) -> Placed:
        self._forget()
        kept = self.state.sessions.get(session_id)
        if kept is None:
            return Placed("unknown", session_id)
        if not kept.session.is_open:
            return Placed("finished", session_id)
        if generation not in (0, kept.session.generation):
            return Placed("placed", session_id)
        if kept.session.status == "queued":  # a failover put it back in its queue
            self._next_round(kept)
            return Placed("queued", session_id, self._hand())
        self._drop(session_id)
        if kept.session.worker_id is not None:
            kept.excluded.add(kept.session.worker_id)
            if unable:
                self.state.free.pop(kept.session.worker_id, None)
        outcome: Outcome = "exhausted"
        if kept.session.placements < leases.MAX_PLACEMENTS:
            chosen, seen, spare = self._choose_for(
                kept.session.named_class, kept.session.avatar, kept.excluded
            )
            outcome = "full" if chosen is None else "placed"
            if chosen is not None:
                self._take(session_id, chosen, seen, spare)
        if outcome == "full" and self._waits_again(kept):
            outcome = "queued"
        elif outcome != "placed":
            self._set(session_id, status="starting")
            self.state.starting.setdefault(session_id, self.now_ms())
        return Placed(outcome, session_id, self._hand())

    def _waits_again(self, kept: Kept) -> bool:
        """Back into the queue, to where it stood; its next setup has a name of its own."""
        state, session = self.state, kept.session
        if kept.waits is None or len(state.tickets) >= leases.MOST_QUEUED:
            return False
        if self._choose(session.avatar, set())[0] is not None:
            return False  # there are slots, on workers that failed it already
        kept.excluded = set()
        self._next_round(kept)
        self._set(
            session.session_id,
            status="queued",
            worker_id=None,
            worker_url="",
            worker_registration=0,
            why={},
            task_token=None,
        )
        state.starting.pop(session.session_id, None)
        self._enqueue(session.session_id, session.tenant, kept.waits)
        self._record(session.session_id)
        return True

    def _next_round(self, kept: Kept) -> None:
        kept.rounds += 1
        name = f"{kept.first_execution}-{kept.rounds}"
        self._set(kept.session.session_id, execution=name)

    def confirm(self, session_id: str, generation: int) -> bool:
        held = self.state.lease.get(session_id)
        if held is None or held[1] != generation:
            return False
        self._confirm(session_id)
        self._set(session_id, task_token=None)
        return True

    def finish(self, session_id: str, generation: int, status: str, reason: str) -> Ended:
        self._forget()
        kept = self.state.sessions.get(session_id)
        if generation > 0 and (kept is None or kept.session.generation != generation):
            return Ended(False)
        changed = self._finish(session_id, status, reason)
        return Ended(changed, self._hand())

    def waiting(self, session_id: str) -> Waiting | None:
        state = self.state
        if session_id not in state.tickets:
            return None
        state.tickets[session_id] = self.now_ms() + TICKET_MS
        tenant = state.sessions[session_id].session.tenant
        lines = tuple(
            Line(name, state.turns[name], state.weights[name], len(state.queues[name]))
            for name in sorted(state.turns, key=lambda one: (state.turns[one], one))
        )
        return Waiting(tenant, list(state.queues[tenant]).index(session_id), lines, state.pace_ms)

    def reap(self, undriven_after_s: float) -> Reaped:
        self._forget()
        self._reap(50)
        handed = self._hand()
        since = self.now_ms() - int(undriven_after_s * 1000)
        late = sorted((at, sid) for sid, at in self.state.starting.items() if at <= since)
        return Reaped(tuple(sid for _, sid in late[:50]), handed)

    def session(self, session_id: str) -> Session | None:
        self._forget()
        kept = self.state.sessions.get(session_id)
        return kept.session if kept else None

    def page(
        self, tenant: str | None, before: int | None, limit: int
    ) -> tuple[list[Session], int | None]:
        """Newest first, born before ``before``; and where the next page begins, if any."""
        self._forget()
        state = self.state
        found = [
            sid
            for sid in sorted(state.born, key=state.born.__getitem__, reverse=True)
            if (before is None or state.born[sid] < before)
            and tenant in (None, state.sessions[sid].session.tenant)
        ][:limit]
        after = state.born[found[-1]] if len(found) == limit else None
        return [state.sessions[sid].session for sid in found], after

    def put_task(self, session_id: str, token: str) -> None:
        if session_id in self.state.sessions:
            self._set(session_id, task_token=token)

    def counts(self) -> dict[str, int]:
        return dict(Counter(kept.session.status for kept in self.state.sessions.values()))

    def outbox(self, limit: int) -> list[str]:
        state = self.state
        first = sorted(state.outbox.items(), key=lambda one: one[1])[:limit]
        return [self._row(sid, seq) for sid, seq in first]

    def _row(self, session_id: str, seq: int) -> str:
        kept = self.state.sessions.get(session_id)
        row = {name: getattr(kept.session, name) for name in RECORDED} if kept else {}
        return json.dumps({"session_id": session_id, "seq": seq, **row})

    def sent(self, entries: Sequence[str]) -> None:
        """One that changed since it was read stays."""
        for entry in entries:
            row = json.loads(entry)
            if self.state.outbox.get(row["session_id"]) == row["seq"]:
                del self.state.outbox[row["session_id"]]

    def key(self, digest: str) -> dict[str, Any] | None:
        facts, until = self.state.keys.get(digest, (None, 0))
        return facts if until > self.now_ms() else None

    def put_key(self, digest: str, facts: dict[str, Any]) -> None:
        left_ms = int(1000 * (facts.get("left_s") or KEY_MS / 1000))
        ttl_ms = min(KEY_MS, left_ms) if facts else NO_KEY_MS
        self.state.keys[digest] = (dict(facts), self.now_ms() + max(1, ttl_ms))

    def failed_livekit(self) -> frozenset[str]:
        return frozenset(self.state.failed_livekit)

    def put_probes(self, ok: dict[str, bool]) -> None:
        for region, good in ok.items():
            (self.state.failed_livekit.discard if good else self.state.failed_livekit.add)(region)

    def due(self, what: str, every_ms: int) -> bool:
        if self.state.due.get(what, 0) > self.now_ms():
            return False
        self.state.due[what] = self.now_ms() + every_ms
        return True

    def release(self, what: str) -> None:
        self.state.due.pop(what, None)

    def put_well(self, well: bool) -> None:
        """Told to peers; a cell that is alone has none."""
        self.well = well

    def ping(self) -> None:
        """Always there; simulations put a store that is away around it."""

    def snapshot(self) -> dict[str, Any]:
        """What two stores that did the same must agree on."""
        return snapshot(self.state)

    def clone(self) -> State:
        """All of it as it is now, for ``restore``."""
        return copy.deepcopy(self.state)

    def restore(self, then: State) -> None:
        """A failover: every write since the clone is lost."""
        self.state = copy.deepcopy(then)

    def check(self) -> list[str]:
        """Every invariant that does not hold, in words."""
        twice = [f"generation {one} was given twice" for one in self.repeated]
        return problems(self.state) + twice
