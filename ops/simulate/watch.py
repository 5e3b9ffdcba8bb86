"""The store as the simulated functions reach it: it may be away, and every answer is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from control.services.ports import Placed, Placing, Pulse, StoreAway
from ops.simulate.model import ModelStore
from ops.simulate.slots import DEAD_MS, QUIET_MS
from ops.simulate.workers import SimWorker
from ops.simulate.world import World

CHANGES = frozenset({
    "place", "place_again", "confirm", "finish", "register", "heartbeat", "deregister", "drain",
    "reap", "order", "hold", "unhold",
})  # fmt: skip


class WatchedStore:
    """The Store port around a model."""

    def __init__(self, world: World, model: ModelStore, fleet: Mapping[str, SimWorker]) -> None:
        self._world, self._model, self._fleet = world, model, fleet
        self.leavers: set[str] = set()
        self._held: list[str] = []
        self._order: float | None = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            world = self._world
            world.step()
            self._note(name, given)
            if world.store_away or world.chance(world.chances.store_fails):
                raise StoreAway("the store does not answer")
            answer = self._judged(name, given) if name in CHANGES else self._plain(name, given)
            if world.chance(world.chances.store_fails):
                raise StoreAway("the store's answer was lost")
            world.step()
            return answer

        self.__dict__[name] = call
        return call

    def _note(self, name: str, given: tuple[Any, ...]) -> None:
        if name == "heartbeat" and given[1] == self._fleet[given[0]].registration:
            self._fleet[given[0]].last_word_ms = self._world.now_ms

    def _plain(self, name: str, given: tuple[Any, ...]) -> Any:
        return getattr(self._model, name)(*given)

    def _judged(self, name: str, given: tuple[Any, ...]) -> Any:
        heard, leases = dict(self._model.state.hb), dict(self._model.state.lease)
        before = self._before(name, given)
        answer = self._plain(name, given)
        for words in self._model.check():
            self._world.problem(f"{words} (after {name})")
        self._judge_deaths(name, given, heard)
        self._judge_leases(name, leases)
        self._judge(name, given, before, answer)
        return answer

    def _before(self, name: str, given: tuple[Any, ...]) -> Any:
        state = self._model.state
        if name in ("finish", "confirm"):
            kept = state.sessions.get(given[0])
            return kept.session.generation if kept else None, state.lease.get(given[0])
        if name == "register":
            self._held = [sid for sid, (on, _) in state.lease.items() if on == given[0]]
            return state.boots.get(given[0])
        if name == "heartbeat":
            worker = state.workers.get(given[0])
            self._order = worker.order if worker else 0.0
            return {
                sid: state.sessions[sid].session.generation
                for sid, generation, live, *_ in given[2]["running"]
                if live
                and sid not in state.lease
                and sid in state.sessions
                and state.sessions[sid].session.is_open
                and state.sessions[sid].session.generation <= generation
            }
        return None

    def _judge(self, name: str, given: tuple[Any, ...], before: Any, answer: Any) -> None:
        problem, state = self._world.problem, self._model.state
        if name == "finish" and answer.changed and given[1] not in (0, before[0]):
            problem(f"generation {given[1]} ended {given[0]}, which is at {before[0]}")
        elif name == "confirm" and answer and (before[1] is None or before[1][1] != given[1]):
            problem(f"generation {given[1]} of {given[0]} was confirmed without its lease")
        elif name == "heartbeat" and isinstance(answer, Pulse):
            for session_id, _ in answer.revoked:
                if session_id in before:
                    problem(f"{session_id} ran and was revoked though nobody else has its lease")
            if state.workers[given[0]].order != self._order:
                problem(f"a heartbeat changed the order of {given[0]}")
        elif isinstance(answer, Placed):
            self._judge_placed(given, answer)
        elif name == "register":
            held = [sid for sid, (on, _) in state.lease.items() if on == given[0]]
            if before != given[1]["boot"] and held:
                problem(f"{given[0]} started anew and still has leases")
            if before == given[1]["boot"] and not set(self._held) <= set(held):
                problem(f"{given[0]} registered twice in one life and lost leases")

    def _judge_leases(self, name: str, before: dict[str, tuple[str, int]]) -> None:
        """A closed worker gets nothing new; what the planner says costs nobody a lease."""
        state = self._model.state
        for session_id in state.lease.keys() - before.keys() - state.adopted:
            worker = state.workers.get(state.lease[session_id][0])
            if worker is not None and worker.order is None:
                self._world.problem(f"{session_id} was placed on a closed worker by {name}")
        if name in ("order", "hold", "unhold"):
            for session_id in before.keys() - state.lease.keys():
                self._world.problem(f"{name} took the lease of {session_id}")

    def _judge_placed(self, given: tuple[Any, ...], answer: Placed) -> None:
        session = self._model.session(answer.session_id)
        if session is None or not session.is_open or session.worker_id is None:
            return
        if session.status == "queued" or answer.session_id not in self._model.state.lease:
            return
        # a key's session is the answer to that key whatever became of it
        keyless = isinstance(given[0], Placing) and given[0].idempotency_key is None
        known = answer.outcome == "existing" and session.status == "live" and keyless
        if answer.outcome == "placed" or known:
            heard = self._model.state.hb.get(session.worker_id)
            forgiven = self._model.state.grace > self._world.now_ms
            if heard is None or (self._world.now_ms - heard > DEAD_MS and not forgiven):
                what = "affinity kept" if known else "a lease was given"
                self._world.problem(f"{what} {answer.session_id} on dead {session.worker_id}")

    def _judge_deaths(self, name: str, given: tuple[Any, ...], heard: dict[str, int]) -> None:
        """A fleet must not die of the store's illness: a worker that was heard until the store
        left, and speaks, is alive until it had a while to be heard again."""
        for dead in heard.keys() - self._model.state.hb.keys():
            if name == "deregister" and dead == given[0]:
                continue
            worker, now = self._fleet[dead], self._world.now_ms
            silent_ms = now - worker.last_word_ms
            unheard_ms = self._world.store_left_ms - heard[dead]
            back_ms = now - self._world.store_back_ms
            if worker.up and max(silent_ms, unheard_ms, back_ms) <= QUIET_MS and unheard_ms >= 0:
                self._world.problem(f"{dead} was declared dead and spoke {silent_ms} ms ago")
