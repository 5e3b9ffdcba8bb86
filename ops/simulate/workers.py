"""A simulated worker: it speaks and refuses as gpu_node does, and can be killed at any moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from control.contracts.worker import (
    Hardware,
    Heartbeat,
    Register,
    Running,
    StreamEvent,
    WorkerState,
)
from control.domain.errors import RapidoError
from control.services import workers
from control.services.ports import Cell, Pulse, StoreAway, WorkerRefused, WorkerUnable
from ops.simulate.world import Backoff, Unreachable, World

_HARDWARE = Hardware(cpu="simulated", cores=1, memory_gib=1.0, engine="none")
BEAT_MS = 5_000
MEASURE_MS = 1_000


@dataclass(eq=False)
class Stream:
    """One session as the worker runs it."""

    session_id: str
    generation: int
    life: int
    state: Literal["joining", "live", "ending"] = "joining"
    told: bool = True


class SimWorker:
    """``skew_ms`` is how far its own clock is off; ``rooms`` has who plays in each room.

    ``last_word_ms``: when a heartbeat of this life came as far as the store, heard or not.
    """

    def __init__(
        self, world: World, cell: Cell, name: str, slots: int, rooms: dict[str, Stream]
    ) -> None:
        self.world, self.cell, self.name, self.slots = world, cell, name, slots
        self.skew_ms = world.rng.randint(-300_000, 300_000)
        self.life = 0
        self.up = False
        self.cut_off = False
        self.streams: dict[str, Stream] = {}
        self.last_word_ms = 0
        self._rooms = rooms
        self._generations: dict[str, int] = {}
        self.registration = 0
        self._boot = ""
        self._state = WorkerState.WARMING
        self._backoff = Backoff(world)

    @property
    def reachable(self) -> bool:
        """Does a call to it arrive?"""
        return self.up and not self.cut_off

    def playing(self) -> list[Stream]:
        """Streams that hold a slot."""
        return [one for one in self.streams.values() if one.state != "ending"]

    def boot(self) -> None:
        """A new life; nothing of the former one is known."""
        self.life += 1
        self._boot = f"{self.world.rng.getrandbits(64):016x}"
        self.up = True
        self.streams, self._generations = {}, {}
        self._state, self.registration = WorkerState.WARMING, 0
        self._backoff = Backoff(self.world)
        self._register()

    def kill(self, restart_after_ms: int | None) -> None:
        """At once; None: for good."""
        self.life += 1
        self.up = False
        self.streams = {}
        if restart_after_ms is not None:
            life = self.life
            self._later(restart_after_ms, life, self.boot)

    def _later(self, delay_ms: float, life: int, act: Callable[[], None]) -> None:
        self.world.at(delay_ms, lambda: act() if self.life == life else None)

    def _say(self, act: Callable[[], object], then: Callable[[object], None]) -> None:
        """A call to the cell; its answer is for this life only."""
        life = self.life
        if self.cut_off:
            self._later(3_000, life, lambda: then(Unreachable()))
            return
        self.world.send(act, lambda answer: then(answer) if self.life == life else None)

    def _register(self) -> None:
        ask = Register(
            worker_id=self.name,
            url=f"http://{self.name}",
            region="us-east-1",
            zone="a",
            version="1",
            hardware=_HARDWARE,
            avatars=("demo",),
            boot=self._boot,
        )
        self._say(
            lambda: workers.register(self.cell, ask),
            self._registered,
        )

    def _registered(self, answer: object) -> None:
        if not isinstance(answer, dict):
            self._later(self._backoff.next_ms(), self.life, self._register)
            return
        self.registration = answer["registration"]
        self._backoff = Backoff(self.world)
        self._beat()
        self._later(MEASURE_MS, self.life, self._measured)

    def _measured(self) -> None:
        if self._state is WorkerState.WARMING:
            self._state = WorkerState.READY

    def _beat(self) -> None:
        beat = Heartbeat(
            registration=self.registration,
            state=self._state,
            slots=0 if self._state is WorkerState.WARMING else self.slots,
            avatars=("demo",),
            ready=("demo",),
            running=tuple(
                Running(session_id=one.session_id, generation=one.generation, state=one.state)
                for one in self.streams.values()
            ),
        )
        self._say(lambda: workers.heartbeat(self.cell, self.name, beat), self._beaten)

    def _beaten(self, answer: object) -> None:
        if isinstance(answer, RapidoError) and answer.slug == "stale-registration":
            self.kill(restart_after_ms=2_000)
            return
        if isinstance(answer, RapidoError) and answer.slug == "forgotten-registration":
            self._register()
            return
        if isinstance(answer, Exception):
            self._later(self._backoff.next_ms(), self.life, self._beat)
            return
        self._backoff = Backoff(self.world)
        assert isinstance(answer, Pulse)
        for session_id, generation in answer.revoked:
            stream = self.streams.get(session_id)
            if stream is not None and stream.generation <= generation:
                self._end(stream, told=False)
        if answer.desired_state == "draining":
            self._state = WorkerState.DRAINING
        self._later(BEAT_MS, self.life, self._beat)

    def start(self, body: dict[str, Any], key: str) -> None:
        """Raises WorkerRefused as gpu_node's sessions do."""
        if not self.up:
            raise WorkerUnable("nobody answers")
        if key != f"{self.name}:{self.registration}":
            raise WorkerRefused("the token is of another key")
        if body["expires_at"] * 1000 <= self.world.now_ms + self.skew_ms:
            raise WorkerRefused("the lesson is over")
        session_id, generation = body["session_id"], body["generation"]
        known, running = self._generations.get(session_id, 0), self.streams.get(session_id)
        if generation < known or (generation == known and running is None):
            raise WorkerRefused("stale-generation")
        if generation == known:
            return
        if self._state is WorkerState.DRAINING:
            raise WorkerUnable("draining")
        if len([one for one in self.playing() if one.session_id != session_id]) >= self.slots:
            raise WorkerUnable("no-slot")
        if running is not None:
            running.told = False
        self._generations[session_id] = generation
        self._begin(Stream(session_id, generation, self.life))

    def _begin(self, stream: Stream) -> None:
        self.streams[stream.session_id] = stream
        if len(self.playing()) > self.slots:
            self.world.problem(f"{self.name} runs {len(self.playing())} of {self.slots} streams")
        fate = self.world.rng.random() if self.world.chance(0.12) else 1.0
        if fate < 0.2:
            return  # no frame ever comes
        if fate < 0.5:  # its learner leaves about when the setup stops waiting
            left_ms = self.world.rng.randint(8_000, 10_100)
            self._later(left_ms, self.life, lambda: self._end(stream))
            return
        if fate < 0.8:
            self._later(400, self.life, lambda: self._end(stream, "failed"))
            return
        if fate < 0.9:
            self.kill(restart_after_ms=self.world.rng.randint(1_000, 30_000))
            return
        slow = self.world.chance(0.04)  # about when the setup stops waiting
        shown_ms = self.world.rng.randint(*((7_000, 14_000) if slow else (300, 900)))
        self._later(shown_ms, self.life, lambda: self._show(stream))

    def _show(self, stream: Stream) -> None:
        if self.streams.get(stream.session_id) is not stream or stream.state == "ending":
            return
        stream.state = "live"
        before = self._rooms.get(stream.session_id)
        self._rooms[stream.session_id] = stream
        if before is not None and before is not stream:
            before.state = "ending"  # LiveKit throws the older one of an identity out
        self._tell("first_frame", stream)

    def stop(self, session_id: str, generation: int) -> None:
        """The cell's DELETE; an older generation than the known one is refused."""
        stream = self.streams.get(session_id)
        if not self.up or generation < self._generations.get(session_id, 0):
            return
        if stream is not None and stream.generation <= generation:
            self._end(stream)

    def leave_room(self, session_id: str) -> None:
        """Nobody is in the room any more, or it was closed."""
        stream = self.streams.get(session_id)
        if stream is not None:
            self._end(stream)

    def sweep(self) -> None:
        """What was thrown out of its room ends as failed."""
        for stream in list(self.streams.values()):
            if stream.state == "ending" and self._rooms.get(stream.session_id) is not stream:
                self._end(stream, "failed")

    def _end(
        self, stream: Stream, kind: Literal["ended", "failed"] = "ended", told: bool = True
    ) -> None:
        stream.state = "ending"
        stream.told = stream.told and told
        self._later(self.world.rng.randint(50, 400), self.life, lambda: self._over(stream, kind))

    def _over(self, stream: Stream, kind: Literal["ended", "failed"]) -> None:
        if self.streams.get(stream.session_id) is not stream:
            return
        del self.streams[stream.session_id]
        if self._rooms.get(stream.session_id) is stream:
            del self._rooms[stream.session_id]
        if stream.told:
            self._tell(kind, stream)

    def _tell(
        self,
        kind: Literal["first_frame", "ended", "failed"],
        stream: Stream,
        backoff: Backoff | None = None,
    ) -> None:
        said = StreamEvent(
            type=kind,
            registration=self.registration,
            session_id=stream.session_id,
            generation=stream.generation,
            reason="" if kind == "first_frame" else "The stream is over.",
        )
        waits = backoff or Backoff(self.world)

        def heard(answer: object) -> None:
            if isinstance(answer, RapidoError) and answer.status < 500:
                if kind == "first_frame":
                    self._end(stream)
            elif isinstance(answer, Unreachable | RapidoError | StoreAway):
                self._later(waits.next_ms(), self.life, lambda: self._tell(kind, stream, waits))
            elif isinstance(answer, Exception):
                raise answer

        self._say(lambda: workers.event(self.cell, self.name, said), heard)

    def depart(self) -> None:
        """In order: no new stream, the running ones are told as failed, then it deregisters."""
        if not self.up:
            return
        self._state = WorkerState.DRAINING
        for stream in list(self.streams.values()):
            self._end(stream, "failed")
        self._later(1_000, self.life, self._deregister)

    def _deregister(self) -> None:
        number = self.registration

        def gone(answer: object) -> None:
            del answer
            self.kill(restart_after_ms=None)

        self._say(lambda: workers.deregister(self.cell, self.name, number), gone)
