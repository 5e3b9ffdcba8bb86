"""The other ports of a simulated cell, in memory; each call may be the function's last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from control.domain.errors import unavailable
from control.domain.session import Session
from control.services.peer_ports import Peer, PeerAnswer
from control.services.ports import WorkerRefused, WorkerUnable
from ops.simulate.world import World

if TYPE_CHECKING:
    from ops.simulate.workers import SimWorker


class SimWorkerCalls:
    """Calls to the simulated workers by name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.fleet: dict[str, SimWorker] = {}

    def key(self, worker_id: str, registration: int) -> str:
        return f"{worker_id}:{registration}"

    def start(self, session: Session, body: dict[str, Any]) -> None:
        world, worker = self._world, self.fleet[session.worker_id or ""]
        world.step()
        key = self.key(worker.name, session.worker_registration)
        if not worker.reachable or world.chance(world.chances.lost):
            raise WorkerUnable(f"{worker.name} does not answer")
        if world.chance(world.chances.delayed):
            late_ms = world.rng.choice((500, 6_000, 20_000))
            world.at(late_ms, lambda: _quietly(lambda: worker.start(body, key)))
            raise WorkerUnable(f"{worker.name} did not answer in time")
        worker.start(body, key)
        if world.chance(world.chances.doubled):
            delay_ms = world.rng.randint(1, 3_000)
            world.at(delay_ms, lambda: _quietly(lambda: worker.start(body, key)))
        if world.chance(world.chances.answer_lost):
            raise WorkerUnable(f"{worker.name} did not answer")
        world.step()

    def stop(self, session: Session) -> None:
        world, worker = self._world, self.fleet[session.worker_id or ""]
        world.step()
        if worker.reachable and not world.chance(world.chances.lost):
            delay_ms = 8_000 if world.chance(world.chances.delayed) else 2
            world.at(delay_ms, lambda: worker.stop(session.session_id, session.generation))
        world.step()


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except WorkerRefused:
        return


class SimRooms:
    """LiveKit: ``on_close`` hears of rooms that were closed."""

    def __init__(self, world: World, on_close: Callable[[str], None]) -> None:
        self._world, self._on_close = world, on_close

    def token(
        self,
        identity: str,
        room: str,
        ttl_s: float,
        *,
        name: str | None = None,
        kind: Literal["learner", "voice", "avatar"] = "learner",
    ) -> str:
        return f"{kind} {identity} {name} in {room} for {ttl_s} s"

    def close(self, url: str, room: str) -> None:
        del url
        self._world.step()
        self._world.at(20, lambda: self._on_close(room))
        self._world.step()

    def probe(self, url: str) -> bool:
        return bool(url)

    def verify_webhook(self, body: bytes, authorization: str) -> dict[str, Any]:
        raise NotImplementedError("no simulated LiveKit calls webhooks")


class SimQueue:
    """The queue to the records."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rows = 0

    def send(self, entries: Sequence[str]) -> None:
        self._world.step()
        if self._world.chance(self._world.chances.lost):
            raise unavailable("records queue")
        self.rows += len(entries)
        self._world.step()


class SimRecords:
    """PostgreSQL is never needed for a lesson."""

    def upsert(self, rows: Sequence[dict[str, Any]]) -> None:
        del rows

    def add_key(self, digest: str, tenant: str, role: str) -> None:
        del digest, tenant, role

    def key(self, digest: str) -> dict[str, Any] | None:
        del digest
        return None

    def ping(self) -> None:
        """Always there."""


class NoPeers:
    """The simulated cell is alone: a call to a peer would be a fault of its own."""

    def call(self, peer: Peer, *given: Any, **more: Any) -> PeerAnswer:
        raise AssertionError(f"a cell without peers called {peer.cell}: {given} {more}")
