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
            and name not in state.desired
            and state.used.get(name, 0) < worker.slots
            and name in state.hb
        )

    def _refresh(self, name: str) -> None:
        state = self.state
        if not self._eligible(name):
            state.free.pop(name, None)
            return
        worker = state.workers[name]
        one = placement.terms(
            name, 0.0, worker.slots, state.used.get(name, 0), worker.late, holds_avatar=False
        )
        state.free[name] = float(f"{one.score:.6f}")

    def _choose(
        self, avatar: str, distance: float, excluded: set[str]
    ) -> tuple[str | None, list[dict[str, Any]]]:
        """The chosen worker, and every worker that was looked at, best first."""
        state, heads = self.state, self._page(excluded)
        scores = {name: placement.DISTANCE * distance + state.free[name] for name in heads}
        seen = [self._candidate(name, avatar) for name in heads]
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

    def _candidate(self, name: str, avatar: str) -> dict[str, Any]:
        state, worker = self.state, self.state.workers[name]
        return {
            "worker_id": name,
            "slots": worker.slots,
            "used": state.used.get(name, 0),
            "late": worker.late,
            "starts": state.st.get(name, 0),
            "holds_avatar": f",{avatar}," in state.av.get(name, ""),
        }

    def _take(self, session_id: str, name: str, seen: list[dict[str, Any]]) -> None:
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
        state.on.setdefault(name, {})[session_id] = None
        state.exp[session_id] = until_ms
        state.used[name] = state.used.get(name, 0) + 1
        worker: Worker | None = state.workers.get(name)
        self._set(
            session_id,
            worker_id=name,
            worker_url=str(state.facts.get(name, {}).get("url", "")),
            worker_registration=worker.registration if worker else 0,
            generation=generation,
        )

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
        if session_id not in state.lease:
            return
        name, _ = state.lease.pop(session_id)
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
