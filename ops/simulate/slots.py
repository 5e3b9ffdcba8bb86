"""Slots in the model: who is free, the choice, and the only ways a lease comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from control.domain import leases, placement
from ops.simulate.state import State, Worker

DEAD_MS = int(leases.DEAD_AFTER_S * 1000)
QUIET_MS = int(leases.QUIET_AFTER_S * 1000)
UNCONFIRMED_MS = int(leases.UNCONFIRMED_TTL_S * 1000)
LIVE_MS = int(leases.LIVE_TTL_S * 1000)
REAP_EVERY_MS, HEARD_EVERY_MS = 100, 1000
MISSING_MS = int(leases.MISSING_RUN_S * 1000)


class Slots:
    """Time comes from ``now_ms``, Unix milliseconds. ``repeated`` are generations given twice."""

    def __init__(self, now_ms: Callable[[], int], region: str = "us-east-1") -> None:
        self.now_ms = now_ms
        self.region = region
        self.state = State()
        self.repeated: list[int] = []
        self._issued: set[int] = set()

    def _alive(self, name: str) -> bool:
        state, now = self.state, self.now_ms()
        heard = state.hb.get(name)
        return heard is not None and (now - heard < DEAD_MS or state.grace > now)

    def _forgiving(self, *, spoke: bool) -> bool:
        """``spoke``: a worker did. A quiet time gives one grace, however often it is asked about:
        else a fleet that died as a whole would be forgiven for ever."""
        state, now = self.state, self.now_ms()
        if state.heard is None or now - state.heard > QUIET_MS:
            if state.excused is None or state.excused != state.heard:
                state.grace = now + DEAD_MS
            state.excused = state.heard
        if state.heard is None or (spoke and now - state.heard >= HEARD_EVERY_MS):
            state.heard = now
        return state.grace > now

    def _eligible(self, name: str) -> bool:
        state, worker = self.state, self.state.workers.get(name)
        return (
            worker is not None
            and worker.state == "ready"
            and worker.order is not None
            and name not in state.desired
            and state.used.get(name, 0) < worker.slots
            and name in state.hb
        )

    def _refresh(self, name: str) -> None:
        state = self.state
        if not self._eligible(name):
            state.free.pop(name, None)
            return
        state.free[name] = self._score(name, given=0)

    def _score(self, name: str, given: int) -> float:
        """Without geography; ``given`` of its leases count as free slots."""
        state, worker = self.state, self.state.workers[name]
        used = state.used.get(name, 0) - given
        return placement.terms(
            name,
            0.0,
            worker.slots,
            used,
            worker.late,
            holds_avatar=False,
            order=worker.order or 0.0,
        ).base

    def _choose(self, avatar: str, excluded: set[str]) -> tuple[str | None, list[dict[str, Any]]]:
        """The chosen worker, and every worker that was looked at, best first."""
        heads = self._page(excluded)
        return self._best_of({name: self.state.free[name] for name in heads}, avatar, given=0)

    def _best_of(
        self, scores: dict[str, float], avatar: str, given: int
    ) -> tuple[str | None, list[dict[str, Any]]]:
        """Of some heads, best first, the one for the avatar; and all of them."""
        seen = [self._candidate(name, avatar, given) for name in scores]
        calm = [one for one in seen if one["starts"] < placement.START_CAP] or seen
        if not calm:
            return None, seen
        least = scores[calm[0]["worker_id"]] - placement.AVATAR_MARGIN
        near = [one for one in calm if scores[one["worker_id"]] >= least]
        best = next((one for one in near if one["holds_avatar"]), calm[0])
        return best["worker_id"], seen

    def _page(self, excluded: set[str]) -> list[str]:
        free, size = self.state.free, placement.HEADS
        ranked = sorted(free, key=lambda name: (free[name], name), reverse=True)
        for page in range(placement.HEAD_PAGES):
            heads = ranked[page * size : (page + 1) * size]
            able = [name for name in heads if name not in excluded and self._alive(name)]
            if able:
                return able
        return []

    def _candidate(self, name: str, avatar: str, given: int) -> dict[str, Any]:
        state, worker = self.state, self.state.workers[name]
        return {
            "worker_id": name,
            "slots": worker.slots,
            "used": state.used.get(name, 0) - given,
            "late": worker.late,
            "starts": state.st.get(name, 0),
            "holds_avatar": f",{avatar}," in state.av.get(name, ""),
            "order": worker.order or 0.0,
        }

    def _take(
        self, session_id: str, name: str, seen: list[dict[str, Any]], spare: str | None = None
    ) -> None:
        """``spare`` is the held slot's lease that makes room for it."""
        if spare is not None:
            self._drop(spare)
        state, now, kept = self.state, self.now_ms(), self.state.sessions[session_id]
        state.gen = self._next_generation()
        if state.gen in self._issued:
            self.repeated.append(state.gen)
        self._issued.add(state.gen)
        self._hold(session_id, name, state.gen, now + UNCONFIRMED_MS)
        state.st[name] = state.st.get(name, 0) + 1
        state.starting[session_id] = now
        self._set(
            session_id,
            status="starting",
            placements=kept.session.placements + 1,
            task_token=None,
            why={
                "chosen": name,
                "generation": state.gen,
                "store_ms": now,
                "held": spare is not None,
                "distance": kept.distance,
                "margin": placement.AVATAR_MARGIN,
                "excluded": sorted(kept.excluded),
                "candidates": seen,
            },
        )
        self._refresh(name)
        self._record(session_id)

    def _next_generation(self) -> int:
        """No less than the time, so that it grows across a failover that forgot some."""
        return max(self.state.gen + 1, self.now_ms())

    def _hold(self, session_id: str, name: str, generation: int, until_ms: int) -> None:
        """The lease itself; its generation and worker become the session's."""
        state = self.state
        state.lease[session_id] = (name, generation)
        self._occupy(session_id, name, until_ms)
        worker: Worker | None = state.workers.get(name)
        self._set(
            session_id,
            worker_id=name,
            worker_url=str(state.facts.get(name, {}).get("url", "")),
            worker_registration=worker.registration if worker else 0,
            generation=generation,
        )

    def _occupy(self, lease: str, name: str, until_ms: int) -> None:
        state = self.state
        state.on.setdefault(name, {})[lease] = None
        state.exp[lease] = until_ms
        state.used[name] = state.used.get(name, 0) + 1

    def _confirm(self, session_id: str) -> None:
        state, name = self.state, self.state.lease[session_id][0]
        state.exp[session_id] = max(state.exp[session_id], self.now_ms() + LIVE_MS)
        if state.status(session_id) != "live":
            state.st[name] -= 1
            self._set(session_id, status="live")
            state.starting.pop(session_id, None)
            self._record(session_id)

    def _drop(self, session_id: str) -> None:
        state = self.state
        if session_id in state.held:
            name, _ = state.held.pop(session_id)
        elif session_id in state.lease:
            name, _ = state.lease.pop(session_id)
        else:
            return
        state.on[name].pop(session_id)
        state.exp.pop(session_id)
        state.miss.pop(session_id, None)
        state.adopted.discard(session_id)
        state.used[name] -= 1
        if state.status(session_id) == "starting":
            state.st[name] -= 1
        self._refresh(name)

    def _set(self, session_id: str, **changes: Any) -> None:
        kept = self.state.sessions[session_id]
        kept.session = replace(kept.session, **changes)

    def _record(self, session_id: str) -> None:
        self.state.seq += 1
        self.state.outbox[session_id] = self.state.seq
