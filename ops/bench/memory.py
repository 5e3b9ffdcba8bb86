"""What a worker, a heartbeat and a lease cost the store."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ops.bench.crowd import Crowd
from ops.bench.stage import SLOTS, BenchError, Noop, Stage, cpu_s, memory_bytes, placing

_BATCH = 500
_SAMPLE = 200
_BUSY = 500
_INDICES = ("sessions", "tenant:school")


@dataclass(frozen=True)
class Enlisted:
    """Memory of one worker and of its facts in it; store CPU of a heartbeat and of a no-op."""

    worker_bytes: float
    facts_bytes: float
    heartbeat_us: float
    noop_us: float


def enlist(stage: Stage, workers: int) -> Enlisted:
    """Registers them, and lets each of them beat once more, with nothing running."""
    before = memory_bytes(stage.raw)
    stage.enlist(workers)
    worker_bytes = (memory_bytes(stage.raw) - before) / workers
    started_s = cpu_s(stage.raw)
    for number, name in enumerate(stage.registrations):
        stage.beat(name, SLOTS, late_ms=number % 5)
    heartbeat_us = (cpu_s(stage.raw) - started_s) / workers * 1e6
    stage.keep_alive()
    facts_bytes = _size(stage, "facts") / workers
    return Enlisted(worker_bytes, facts_bytes, heartbeat_us, _noop_us(stage, workers))


def _noop_us(stage: Stage, calls: int) -> float:
    noop = Noop(stage.url)
    before_s = cpu_s(stage.raw)
    for _ in range(calls):
        noop()
    return (cpu_s(stage.raw) - before_s) / calls * 1e6


@dataclass(frozen=True)
class Leased:
    """Memory of one live session: its lease, its own record, and where it is listed."""

    leases: int
    lease_bytes: float
    record_bytes: float
    listed_bytes: float

    @property
    def session_bytes(self) -> float:
        """All three."""
        return self.lease_bytes + self.record_bytes + self.listed_bytes


def lease(stage: Stage, crowd: Crowd, leases: int) -> Leased:
    """Takes and confirms that many leases, hands the outbox over, and weighs what stays.

    The lease is what is left of the growth without ``s:SID``, the lesson's key, and the entries in
    the lists of all sessions and of the tenant's.
    """
    _empty_outbox(stage)
    held: Any = stage.raw.zcard(stage.key("exp"))
    before = memory_bytes(stage.raw)
    indices = sum(_size(stage, name) for name in _INDICES)
    crowd.together(_fill, stage.url, stage.cell, leases // crowd.size)
    _empty_outbox(stage)
    now: Any = stage.raw.zcard(stage.key("exp"))
    count = int(now) - int(held)
    if count != leases // crowd.size * crowd.size:
        raise BenchError(f"{count} leases are held instead of {leases}")
    grown = (memory_bytes(stage.raw) - before) / count
    sample: Any = stage.raw.zrandmember(stage.key("exp"), _SAMPLE)
    record = fmean(_size(stage, f"s:{session_id}") for session_id in sample)
    listed = (sum(_size(stage, name) for name in _INDICES) - indices) / count
    listed += _lesson_bytes(stage)
    return Leased(count, grown - record - listed, record, listed)


def _empty_outbox(stage: Stage) -> None:
    while entries := stage.store.outbox(1000):
        stage.store.sent(entries)


def _fill(url: str, cell: str, count: int, number: int) -> None:
    stage = Stage(url, cell)
    for first in range(0, count, _BATCH):
        turns = range(first, min(count, first + _BATCH))
        asks = [placing(cell, f"lease-{number}-{turn}") for turn in turns]
        for ask in asks:
            stage.place(ask)
        ids = [ask.session_id for ask in asks]
        for session_id, (_, generation) in zip(ids, stage.leases(ids), strict=True):
            if not stage.store.confirm(session_id, generation):
                raise BenchError(f"{session_id} lost its lease before it was confirmed")


def _lesson_bytes(stage: Stage) -> float:
    found = stage.raw.scan_iter(stage.key("lesson:*"), count=1000)
    names = [name for name, _ in zip(found, range(_SAMPLE), strict=False)]
    sizes: list[Any] = [stage.raw.memory_usage(name) for name in names]
    return fmean(int(size or 0) for size in sizes)


def _size(stage: Stage, name: str) -> int:
    found: Any = stage.raw.memory_usage(stage.key(name), samples=0)
    return int(found or 0)


def busy_heartbeat(stage: Stage) -> tuple[float, float]:
    """Store µs of a heartbeat that names every lease of its worker; and how many it names."""
    names = list(stage.registrations)[:_BUSY]
    running: dict[str, list[list[Any]]] = {}
    for name in names:
        found: Any = stage.raw.smembers(stage.key(f"on:{name}"))
        held = stage.leases(list(found)) if found else []
        pairs = zip(found, held, strict=True)
        running[name] = [[session_id, generation, True] for session_id, (_, generation) in pairs]
    before_s = cpu_s(stage.raw)
    for name in names:
        stage.beat(name, SLOTS, running=running[name])
    spent_us = (cpu_s(stage.raw) - before_s) / len(names) * 1e6
    stage.keep_alive()
    return spent_us, fmean(len(named) for named in running.values())
