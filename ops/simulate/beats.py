"""The scripts that workers call: register, heartbeat, drain, deregister."""

from __future__ import annotations

from typing import Any

from control.domain import leases
from control.domain.session import Session
from control.services.ports import Pulse
from ops.simulate.slots import LIVE_MS, MISSING_MS
from ops.simulate.state import Worker
from ops.simulate.steps import Steps

SESSION_MS = int(leases.SESSION_TTL_S * 1000)
Run = tuple[str, int, bool]


class Beats(Steps):
    """What a worker's word does to the state."""

    def register(self, worker_id: str, facts: dict[str, Any]) -> int:
        self._forget()
        state = self.state
        if state.boots.get(worker_id) == facts["boot"]:
            if worker_id in state.workers:
                return state.workers[worker_id].registration
            self.state.shrunk.add(worker_id)  # it tells its slots with its next word
        else:
            for session_id in list(state.on.get(worker_id, ())):
                self._lose(session_id, "Its worker started anew.")
        if state.used.get(worker_id, 0) > 0:
            state.shrunk.add(worker_id)  # it goes on with what runs, and has no slots told yet
        state.registrations = max(state.registrations + 1, self.now_ms())
        state.workers[worker_id] = Worker(0, 0.0, state.registrations, "warming")
        state.facts[worker_id] = {k: v for k, v in facts.items() if k not in ("avatars", "boot")}
        state.boots[worker_id] = facts["boot"]
        self._announce(worker_id, facts["avatars"])
        state.desired.discard(worker_id)
        state.warm.pop(worker_id, None)
        self._forgiving(spoke=True)
        state.hb[worker_id] = self.now_ms()
        self._refresh(worker_id)
        return state.registrations

    def registration(self, worker_id: str) -> int | None:
        worker = self.state.workers.get(worker_id)
        return worker.registration if worker else None

    def _announce(self, worker_id: str, avatars: str) -> None:
        self.state.av[worker_id] = f",{avatars},"
        self.state.avatars.update(name for name in avatars.replace("~", "").split(",") if name)

    def heartbeat(self, worker_id: str, registration: int, heard: dict[str, Any]) -> Pulse | None:
        self._forget()
        worker = self.state.workers.get(worker_id)
        if worker is None or registration < worker.registration:
            return None
        self._forgiving(spoke=True)
        self._hear(worker_id, worker, registration, heard)
        runs: list[Run] = [(one[0], int(one[1]), bool(one[2])) for one in heard["running"]]
        revoked = tuple((run[0], run[1]) for run in runs if not self._belongs(worker_id, run))
        if revoked:
            self._repaired("revoked", len(revoked))
        self._miss_unrun(worker_id, runs)
        told_to_go = worker.order is None or worker_id in self.state.desired
        able = worker.state == "ready" and not told_to_go
        self._unhold(worker_id, worker.slots if able else -1)
        self._refresh(worker_id)
        self._reap_a_little()
        desired = "draining" if worker_id in self.state.desired else "ready"
        warm = self._keep_warm(worker_id, heard.get("warm", []))
        return Pulse(desired, revoked, self._hand(), warm)

    def _keep_warm(self, worker_id: str, told: list[list[Any]]) -> tuple[str, ...]:
        """A room whose name became a session's is warm no more."""
        free = [one for one in told if one[0] not in self.state.sessions]
        self.state.warm[worker_id] = [name for name, ready in free if ready]
        return tuple(name for name, _ in free)

    def _hear(
        self, worker_id: str, worker: Worker, registration: int, heard: dict[str, Any]
    ) -> None:
        state = self.state
        if heard["slots"] < worker.slots:
            state.shrunk.add(worker_id)
        worker.state, worker.slots = heard["state"], heard["slots"]
        worker.late = float(f"{0.7 * worker.late + 0.3 * heard['late']:.3f}")
        if registration > worker.registration:  # a failover forgot that it registered
            worker.registration = registration
        if state.used.get(worker_id, 0) <= worker.slots:
            state.shrunk.discard(worker_id)
        self._announce(worker_id, heard["avatars"])
        state.hb[worker_id] = self.now_ms()

    def _belongs(self, worker_id: str, run: Run) -> bool:
        """Renews or adopts the run's lease; False where the run is to be left."""
        state, (session_id, generation, live) = self.state, run
        held = state.lease.get(session_id)
        if held == (worker_id, generation):
            if live:
                self._confirm(session_id)
            return True
        if held is not None or not live:
            return False
        return self._adopt(worker_id, session_id, generation)

    def _adopt(self, worker_id: str, session_id: str, generation: int) -> bool:
        """A lease that a failover forgot, or that ran out too early, is given back to its run."""
        state, kept = self.state, self.state.sessions.get(session_id)
        if kept is None:
            self._keep(self._stranger(session_id), 1.0)
        elif not kept.session.is_open or kept.session.generation > generation:
            return False
        self._leave(session_id)
        state.gen = max(state.gen, generation)
        self._hold(session_id, worker_id, generation, self.now_ms() + LIVE_MS)
        state.adopted.add(session_id)
        state.starting.pop(session_id, None)
        self._set(session_id, status="live")
        self._repaired("adopted", 1)
        self._refresh(worker_id)
        self._record(session_id)
        return True

    def _stranger(self, session_id: str) -> Session:
        """A session of which the store knows nothing but that it runs."""
        now = self.now_ms()
        return Session(
            session_id, "", "", "", "live", self.region, None, "", 0, 0, 1, now, now + SESSION_MS,
            None, None, None, "", None, "learner", None, None, None, None, session_id,
        )  # fmt: skip

    def _miss_unrun(self, worker_id: str, runs: list[Run]) -> None:
        state, now = self.state, self.now_ms()
        named = {(session_id, generation) for session_id, generation, _ in runs}
        for session_id in list(state.on.get(worker_id, ())):
            if session_id in state.held:
                continue
            if (session_id, state.lease[session_id][1]) in named:
                state.miss.pop(session_id, None)
            elif state.status(session_id) == "live":
                since = state.miss.setdefault(session_id, now)
                if now - since >= MISSING_MS:
                    self._lose(session_id, "Its worker does not run it.")
                    self._repaired("unrun", 1)

    def _repaired(self, kind: str, count: int) -> None:
        self.state.repairs[kind] = self.state.repairs.get(kind, 0) + count

    def drain(self, worker_id: str) -> bool:
        if worker_id not in self.state.workers:
            return False
        self.state.desired.add(worker_id)
        self._unhold(worker_id)
        self._refresh(worker_id)
        return True

    def retire(self, worker_id: str) -> bool:
        """Fences a worker that takes no lease now and has none; see retire.lua."""
        state, worker = self.state, self.state.workers.get(worker_id)
        if state.used.get(worker_id, 0) > 0:
            return False
        if worker is None:
            return True
        serves = worker.state == "ready" and worker.slots > 0 and self._alive(worker_id)
        if serves and worker.order is not None and worker_id not in state.desired:
            return False
        state.desired.add(worker_id)
        self._refresh(worker_id)
        return True

    def deregister(self, worker_id: str, registration: int) -> bool:
        self._forget()
        state, worker = self.state, self.state.workers.get(worker_id)
        if worker is None:
            return True
        if registration < worker.registration:
            return False
        for session_id in list(state.on.get(worker_id, ())):
            self._lose(session_id, "Its worker was shut down.")
        state.hb.pop(worker_id, None)
        state.warm.pop(worker_id, None)
        state.free.pop(worker_id, None)
        state.desired.discard(worker_id)
        state.shrunk.discard(worker_id)
        del state.workers[worker_id], state.facts[worker_id], state.av[worker_id]
        state.boots.pop(worker_id, None)
        return True

    def workers(self) -> list[dict[str, Any]]:
        """Each as registered and heard, with ``used``, ``desired`` and ``alive``; by name."""
        state = self.state
        return [
            {
                **state.facts[name],
                "worker_id": name,
                "registration": worker.registration,
                "state": worker.state,
                "slots": worker.slots,
                "late": worker.late,
                "avatars": state.av[name].strip(",").replace("~", ""),
                "used": state.used.get(name, 0),
                "held": sum(on == name for on, _ in state.held.values()),
                "order": worker.order,
                "desired": "draining" if name in state.desired else None,
                "alive": name in state.hb,
                "seen": state.hb.get(name, 0),
            }
            for name, worker in sorted(state.workers.items())
        ]

    def repairs(self) -> dict[str, int]:
        return dict(self.state.repairs)
