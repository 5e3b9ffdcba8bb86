"""Deliberate bugs in the store: trials that do not notice one of them prove nothing."""

from __future__ import annotations

from typing import Any

from control.services.ports import Ended, Placing, Pulse, Reaped
from ops.simulate.beats import Run
from ops.simulate.holds import Choice
from ops.simulate.model import ModelStore
from ops.simulate.slots import DEAD_MS
from ops.simulate.state import Named


class DropForgetsTheCount(ModelStore):
    """A lease goes and the worker's count stays."""

    def _drop(self, session_id: str) -> None:
        held = self.state.lease.get(session_id)
        super()._drop(session_id)
        if held is not None:
            self.state.used[held[0]] += 1


class ConfirmTakesAnyGeneration(ModelStore):
    """A late word makes a session live whose lease is gone."""

    def confirm(self, session_id: str, generation: int) -> bool:
        held = self.state.lease.get(session_id)
        if held is not None:
            return super().confirm(session_id, held[1])
        del generation
        if self._is_open(session_id):
            self._set(session_id, status="live")
            self.state.starting.pop(session_id, None)
        return True


class FinishTakesAnyGeneration(ModelStore):
    """A worker ends the session that went to another one."""

    def finish(self, session_id: str, generation: int, status: str, reason: str) -> Ended:
        del generation
        return super().finish(session_id, 0, status, reason)


class ReaperSkipsOne(ModelStore):
    """The first that is due is left."""

    def _due(self, deadlines: dict[str, int], limit: int) -> list[str]:
        return super()._due(deadlines, limit)[1:]


class TheDeadAreNotReaped(ModelStore):
    """Who stopped answering keeps its leases."""

    def _reap_workers(self) -> None:
        return


class AffinityToTheDead(ModelStore):
    """A lesson is sent back to a worker that is gone."""

    def _on_dead_worker(self, session_id: str) -> bool:
        del session_id
        return False


class HeartbeatOverwritesTheCount(ModelStore):
    """The worker's own count replaces that of the leases."""

    def heartbeat(self, worker_id: str, registration: int, heard: dict[str, Any]) -> Pulse | None:
        pulse = super().heartbeat(worker_id, registration, heard)
        if pulse is not None:
            self.state.used[worker_id] = len(heard["running"])
        return pulse


class NoSlotCheck(ModelStore):
    """A full worker stays among the free."""

    def _eligible(self, name: str) -> bool:
        used = self.state.used.get(name, 0)
        self.state.used[name] = 0
        able = super()._eligible(name)
        self.state.used[name] = used
        return able


class NoAdoption(ModelStore):
    """A run whose lease was forgotten is cut."""

    def _adopt(self, worker_id: str, session_id: str, generation: int) -> bool:
        del worker_id, session_id, generation
        return False


class NobodyIsHanded(ModelStore):
    """Free slots pass the queue by."""

    def _hand(self) -> tuple[str, ...]:
        return ()


class NothingIsRevoked(ModelStore):
    """A worker is not told what it lost."""

    def heartbeat(self, worker_id: str, registration: int, heard: dict[str, Any]) -> Pulse | None:
        pulse = super().heartbeat(worker_id, registration, heard)
        return None if pulse is None else Pulse(pulse.desired_state, (), pulse.handed)


class UnrunIsKept(ModelStore):
    """A lease that nobody runs is never missed."""

    def _miss_unrun(self, worker_id: str, runs: list[Run]) -> None:
        del worker_id, runs


class NoGrace(ModelStore):
    """The store was away, and its workers are declared dead for it."""

    def _forgiving(self, *, spoke: bool) -> bool:
        super()._forgiving(spoke=spoke)
        self.state.grace = 0
        return False


class AnyCallCountsAsHeard(ModelStore):
    """Requests hide that no worker was heard; and only a whole dead-interval counts as a gap."""

    def _forgiving(self, *, spoke: bool) -> bool:
        del spoke
        state, now = self.state, self.now_ms()
        if state.heard is None or now - state.heard > DEAD_MS:
            state.grace = now + DEAD_MS
        state.heard = now
        return state.grace > now


class GenerationsStartAgain(ModelStore):
    """After a failover a fencing number is given a second time."""

    def _next_generation(self) -> int:
        return self.state.gen + 1


class RegisterKeepsTheFormerLife(ModelStore):
    """Leases of a worker's former life outlive it."""

    def register(self, worker_id: str, facts: dict[str, Any]) -> int:
        kept = self.state.on.pop(worker_id, {})
        registration = super().register(worker_id, facts)
        self.state.on[worker_id] = kept
        return registration


class NobodyDrivesAgain(ModelStore):
    """A setup that was never started is left so."""

    def reap(self, undriven_after_s: float) -> Reaped:
        return Reaped((), super().reap(undriven_after_s).handed)


class LostIsNotTold(ModelStore):
    """A live session loses its lease and stays live."""

    def _lose(self, session_id: str, reason: str) -> None:
        del reason
        self._drop(session_id)


class LessonStartsTwice(ModelStore):
    """The lesson's open session is not looked for."""

    def place(self, ask: Placing) -> Any:
        self.state.lessons.pop((ask.tenant, ask.lesson_id), None)
        return super().place(ask)


class AHeartbeatOpens(ModelStore):
    """A closed worker is open again when it is heard."""

    def heartbeat(self, worker_id: str, registration: int, heard: dict[str, Any]) -> Pulse | None:
        worker = self.state.workers.get(worker_id)
        if worker is not None and worker.order is None:
            worker.order = 0.0
        return super().heartbeat(worker_id, registration, heard)


class ClosingKeepsWhatIsHeld(ModelStore):
    """Slots stay held on a worker that is to be emptied."""

    def _unhold(self, name: str, slots: int = -1) -> None:
        del name, slots


class HeldSlotsNeverRunOut(ModelStore):
    """What nobody of the class took stays taken."""

    def _due(self, deadlines: dict[str, int], limit: int) -> list[str]:
        return [one for one in super()._due(deadlines, limit) if one not in self.state.held]


class ASlotIsHeldAndTaken(ModelStore):
    """Who takes a held slot does not give it back."""

    def _choose_held(self, named: Named | None, avatar: str, excluded: set[str]) -> Choice:
        chosen, seen, _ = super()._choose_held(named, avatar, excluded)
        return chosen, seen, None


MUTANTS: tuple[type[ModelStore], ...] = (
    DropForgetsTheCount, ConfirmTakesAnyGeneration, FinishTakesAnyGeneration, ReaperSkipsOne,
    TheDeadAreNotReaped, AffinityToTheDead, HeartbeatOverwritesTheCount, NoSlotCheck, NoAdoption,
    NobodyIsHanded, NothingIsRevoked, UnrunIsKept, NoGrace, AnyCallCountsAsHeard,
    GenerationsStartAgain, RegisterKeepsTheFormerLife, NobodyDrivesAgain, LostIsNotTold,
    LessonStartsTwice, AHeartbeatOpens, ClosingKeepsWhatIsHeld, HeldSlotsNeverRunOut,
    ASlotIsHeldAndTaken,
)  # fmt: skip
