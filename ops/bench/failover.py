"""A real cluster's primary dies under load: how long until placements succeed, and what is left.

Workers here are the true ones' bookkeeping alone: they run what they accepted, refuse beyond their
slots and older generations, leave what is revoked, and beat.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from control.adapters.store import ValkeyStore
from control.services.ports import StoreAway
from ops.bench.stage import placing
from ops.cell.supervisor import Supervisor
from ops.cell.valkey_cluster import start_valkey_cluster

CELL = "fail"
_WORKERS, _SLOTS, _CLIENTS = 6, 8, 4
_BEAT_EVERY_S = 0.25
_LOAD_S = 1.5
_HELD_EACH = 6
_BACK_TIMEOUT_S = 30.0
_SETTLE_STEPS, _SETTLE_STEP_MS = 12, 5_000
_FACTS = {
    "url": "http://worker",
    "region": "us-east-1",
    "zone": "a",
    "version": "1",
    "hardware": {},
    "avatars": "demo",
}


@dataclass
class LightWorker:
    """Runs sessions by generation."""

    name: str
    registration: int
    runs: dict[str, int] = field(default_factory=dict)
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, session_id: str, generation: int) -> bool:
        """The last guard: no more than its slots, no older generation."""
        with self.lock:
            if len(self.runs) >= _SLOTS or self.runs.get(session_id, 0) > generation:
                return False
            self.runs[session_id] = generation
            self.most = max(self.most, len(self.runs))
            return True

    def leave(self, session_id: str) -> None:
        """Ends the run, if it is there."""
        with self.lock:
            self.runs.pop(session_id, None)

    def beat(self, store: ValkeyStore) -> None:
        """One heartbeat; a store that is away costs nothing."""
        with self.lock:
            running = [[sid, generation, True] for sid, generation in self.runs.items()]
        heard = {"state": "ready", "slots": _SLOTS, "avatars": "demo", "late": 0.0}
        with contextlib.suppress(StoreAway):
            pulse = store.heartbeat(self.name, self.registration, heard | {"running": running})
            for session_id, _ in pulse.revoked if pulse else ():
                self.leave(session_id)


@dataclass
class Outcome:
    """``gap_s``: from the kill to the first placement after it; the rest are counts a minute
    later: leases beyond slots, leases that nobody runs, runs without a lease, generations given
    twice."""

    gap_s: float
    placed: int
    refused: int
    oversold: int
    leaked: int
    unleased: int
    repeated: int
    adopted: int


class _Load:
    def __init__(self, store: ValkeyStore, workers: dict[str, LightWorker]) -> None:
        self.store = store
        self.workers = workers
        self.over = threading.Event()
        self.placed_at: list[float] = []
        self.refused = 0
        self.generations: list[int] = []

    def client(self, seed: int) -> None:
        """Starts and ends lessons, holding a few, until the load is over."""
        chance = random.Random(seed)  # noqa: S311 - no secret
        held: list[tuple[str, LightWorker]] = []
        while not self.over.is_set():
            try:
                if len(held) >= _HELD_EACH:
                    session_id, worker = held.pop(chance.randrange(len(held)))
                    worker.leave(session_id)
                    self.store.finish(session_id, 0, "ended", "done")
                started = self._start(f"lesson {seed} {secrets.token_hex(8)}")
                if started is not None:
                    held.append(started)
            except StoreAway:
                self.refused += 1

    def _start(self, lesson: str) -> tuple[str, LightWorker] | None:
        placed = self.store.place(placing(CELL, lesson))
        if placed.outcome != "placed":
            return None
        self.placed_at.append(time.monotonic())
        session = self.store.session(placed.session_id)
        if session is None or session.worker_id is None:
            return None
        self.generations.append(session.generation)
        worker = self.workers[session.worker_id]
        if not worker.accept(session.session_id, session.generation):
            self.store.finish(session.session_id, 0, "failed", "refused")
            return None
        self.store.confirm(session.session_id, session.generation)
        return session.session_id, worker

    def beats(self) -> None:
        """All workers' heartbeats."""
        while not self.over.wait(_BEAT_EVERY_S):
            for worker in self.workers.values():
                worker.beat(self.store)


def run(folder: Path) -> Outcome:
    """Starts the cluster, loads it, kills the cell's primary with -9, and looks a minute later.

    The minute passes on the store's clock alone. Raises TimeoutError when placements do not come
    back, PartError when the cluster does not start.
    """
    ahead_ms = 0
    supervisor = Supervisor(folder / "logs", lambda _: None)
    try:
        cluster = start_valkey_cluster(supervisor, folder)
        store = ValkeyStore(
            cluster.url, CELL, "us-east-1", clock=lambda: int(time.time() * 1000) + ahead_ms
        )
        names = [f"worker-{at}" for at in range(_WORKERS)]
        workers = {
            name: LightWorker(name, store.register(name, _FACTS | {"boot": name})) for name in names
        }
        for worker in workers.values():
            worker.beat(store)
        load = _Load(store, workers)
        threads = [threading.Thread(target=load.client, args=(at,)) for at in range(_CLIENTS)]
        threads.append(threading.Thread(target=load.beats))
        for thread in threads:
            thread.start()
        try:
            time.sleep(_LOAD_S)
            killed = time.monotonic()
            supervisor.kill(cluster.primary_of(f"{{{CELL}}}:free"))
            gap_s = _until_placed(load, killed)
            time.sleep(_LOAD_S)
        finally:
            load.over.set()
            for thread in threads:
                thread.join()
        for _ in range(_SETTLE_STEPS):
            ahead_ms += _SETTLE_STEP_MS
            for worker in workers.values():
                worker.beat(store)
            store.reap(0.0)
        return _outcome(gap_s, load, store)
    finally:
        supervisor.stop_all()


def _until_placed(load: _Load, killed: float) -> float:
    deadline = killed + _BACK_TIMEOUT_S
    while time.monotonic() < deadline:
        after = [at for at in load.placed_at if at > killed + 0.1]
        if after:
            return after[0] - killed
        time.sleep(0.01)
    raise TimeoutError("no placement succeeded for 30 s after the primary was killed")


def _outcome(gap_s: float, load: _Load, store: ValkeyStore) -> Outcome:
    used = {one["worker_id"]: one["used"] for one in store.workers()}
    runs = {name: len(worker.runs) for name, worker in load.workers.items()}
    return Outcome(
        gap_s=gap_s,
        placed=len(load.placed_at),
        refused=load.refused,
        oversold=sum(max(0, count - _SLOTS) for count in used.values())
        + sum(max(0, worker.most - _SLOTS) for worker in load.workers.values()),
        leaked=sum(max(0, used[name] - runs[name]) for name in runs),
        unleased=sum(max(0, runs[name] - used[name]) for name in runs),
        repeated=len(load.generations) - len(set(load.generations)),
        adopted=store.repairs().get("adopted", 0),
    )
