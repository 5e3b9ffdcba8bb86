"""A cell full of workers in a store, for benches: no cell process, no HTTP, the real scripts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import valkey

from control.adapters.store import ValkeyStore
from control.domain.session import new_session_id
from control.services.ports import Placing

REGION = "us-east-1"
AVATAR = "demo"
SLOTS = 24
_AN_HOUR_MS = 3_600_000
_CHUNK = 1000
_HARDWARE = {
    "cpu": "AMD EPYC 7R13 Processor",
    "cores": 8,
    "memory_gib": 32.0,
    "gpu": "NVIDIA L4",
    "gpu_memory_gib": 24.0,
    "engine": "torch",
}


class BenchError(RuntimeError):
    """The store answered what it must not; no figure of that run counts."""


def plain_client(url: str) -> valkey.Valkey:
    """A client like the store's own: the same library, the same decoding."""
    return valkey.Valkey.from_url(url, decode_responses=True, socket_timeout=10.0)


class Noop:
    """EVALSHA of a script that does nothing: what any script costs at least."""

    def __init__(self, url: str) -> None:
        self._client = plain_client(url)
        self._sha = str(self._client.script_load("return 1"))

    def __call__(self) -> None:
        """One round trip."""
        self._client.evalsha(self._sha, 1, "{noop}:")


class Stage:
    """The store of one cell, its workers by name."""

    def __init__(self, url: str, cell: str) -> None:
        self.url = url
        self.cell = cell
        self.store = ValkeyStore(url, cell, REGION)
        self.raw = plain_client(url)
        self.registrations: dict[str, int] = {}

    def key(self, name: str) -> str:
        """A key of docs/store.md, with the cell's hash tag."""
        return f"{{{self.cell}}}:{name}"

    def enlist(self, count: int, slots: int = SLOTS) -> None:
        """``count`` workers that are ready and stay alive for an hour unheard."""
        for number in range(count):
            name = f"w{number:06d}"
            self.register(name, number)
            self.beat(name, slots)
        self.keep_alive()

    def register(self, name: str, number: int) -> None:
        """A worker's first word, with facts as long as real ones."""
        facts: dict[str, Any] = {
            "url": f"http://10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:8080",
            "region": REGION,
            "zone": f"{REGION}{'abc'[number % 3]}",
            "version": "1.0.0",
            "hardware": _HARDWARE,
            "avatars": AVATAR,
            "boot": f"{number:016x}",
        }
        self.registrations[name] = self.store.register(name, facts)

    def beat(
        self, name: str, slots: int, late_ms: float = 0.0, running: list[list[Any]] | None = None
    ) -> None:
        """One heartbeat of a ready worker; raises BenchError where the store calls it stale."""
        heard = {
            "state": "ready",
            "slots": slots,
            "avatars": AVATAR,
            "late": late_ms,
            "running": running or [],
        }
        if self.store.heartbeat(name, self.registrations[name], heard) is None:
            raise BenchError(f"{name} is stale though nobody registered after it")

    def keep_alive(self) -> None:
        """Every worker counts as heard an hour from now.

        What is measured next then needs no heartbeats beside it.
        """
        until_ms = time.time() * 1000 + _AN_HOUR_MS
        names = list(self.registrations)
        for first in range(0, len(names), _CHUNK):
            heard = dict.fromkeys(names[first : first + _CHUNK], until_ms)
            self.raw.zadd(self.key("hb"), heard)

    def place(self, ask: Placing) -> None:
        """Raises BenchError unless it got a slot."""
        placed = self.store.place(ask)
        if placed.outcome != "placed":
            raise BenchError(f"{ask.session_id} was {placed.outcome}, with slots free")

    def finish(self, session_id: str) -> None:
        """Raises BenchError unless this ended it."""
        if not self.store.finish(session_id, 0, "ended", "The bench is done with it.").changed:
            raise BenchError(f"{session_id} was not open")

    def leases(self, session_ids: list[str]) -> list[tuple[str, int]]:
        """(worker, generation) of each; raises BenchError for one that holds none."""
        pipe = self.raw.pipeline(transaction=False)
        for session_id in session_ids:
            pipe.zscore(self.key("exp"), session_id)
            pipe.hmget(self.key(f"s:{session_id}"), "worker_id", "generation")
        found = pipe.execute()
        if None in found[::2]:
            raise BenchError(f"{session_ids[found[::2].index(None)]} holds no lease")
        return [(worker, int(generation)) for worker, generation in found[1::2]]

    def held(self) -> Counter[str]:
        """Leases by worker, at one instant."""
        return held(self.raw, self.cell, list(self.registrations))


def held(raw: valkey.Valkey, cell: str, workers: Sequence[str]) -> Counter[str]:
    """Leases that each of the workers holds in a cell's store, at one instant."""
    pipe = raw.pipeline(transaction=True)
    for name in workers:
        pipe.scard(f"{{{cell}}}:on:{name}")
    return Counter(dict(zip(workers, pipe.execute(), strict=True)))


def placing(cell: str, lesson: str, distance: float = 1.0) -> Placing:
    """What a lesson's first request asks of the store."""
    session_id = new_session_id(cell)
    return Placing(
        session_id=session_id,
        tenant="school",
        lesson_id=lesson,
        avatar=AVATAR,
        distance=distance,
        idempotency_key=None,
        fingerprint="0123456789abcdef",
        livekit_url="wss://livekit.us-east-1.example.com",
        livekit_region=REGION,
        learner_identity="learner",
        learner_name=None,
        own_room_token=None,
        agent_identity=None,
        correlation_id=None,
        execution=session_id,
    )


def cpu_s(client: valkey.Valkey) -> float:
    """Processor time of the store's process so far, user and system."""
    spent: Any = client.info("cpu")
    return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])


def memory_bytes(client: valkey.Valkey) -> int:
    """What the store has allocated."""
    held: Any = client.info("memory")
    return int(held["used_memory"])
