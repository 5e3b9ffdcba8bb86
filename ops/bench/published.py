"""The algorithm this placement replaces, as its description tells it: the baseline.

A request reads its session, the set of workers, and each worker by a GET of its own; decodes,
scores by great-circle distance, load, lateness and free slots, sorts, and then reserves in separate
steps. Two requests between choice and reservation may take the same slot: that is part of it.
"""

from __future__ import annotations

import json
from typing import Any

import valkey

from control.domain.geography import REGIONS, Point
from control.domain.placement import distance_term, terms

_CHUNK = 1000


class Published:
    """A fleet kept as one JSON string a worker."""

    def __init__(self, client: valkey.Valkey, name: str) -> None:
        self._client = client
        self._prefix = f"{{published-{name}}}:"

    def load(self, workers: int, slots: int) -> None:
        """``workers`` of them, spread over all regions, none in use."""
        regions = list(REGIONS)
        for first in range(0, workers, _CHUNK):
            pipe: Any = self._client.pipeline(transaction=False)
            for number in range(first, min(workers, first + _CHUNK)):
                name = f"w{number:06d}"
                region = regions[number % len(regions)]
                at = REGIONS[region]
                worker = {
                    "worker_id": name,
                    "url": f"http://10.0.{number >> 8 & 255}.{number & 255}:8080",
                    "region": region,
                    "latitude": at.latitude,
                    "longitude": at.longitude,
                    "slots": slots,
                    "used": 0,
                    "late_ms": 0.0,
                }
                pipe.set(self._worker(name), json.dumps(worker))
                pipe.sadd(self._prefix + "workers", name)
            pipe.execute()

    def place(self, session_id: str, learner: Point) -> str | None:
        """The session's worker, chosen now or before; None where no slot seems free."""
        known = self._read(self._session(session_id))
        if known is not None:
            return str(known["worker_id"])
        names: Any = self._client.smembers(self._prefix + "workers")
        scored = []
        for name in names:
            worker = self._read(self._worker(name))
            if worker is None or worker["used"] >= worker["slots"]:
                continue
            at = Point(worker["latitude"], worker["longitude"])
            distance = distance_term(at, learner, None)
            used, late_ms = worker["used"], worker["late_ms"]
            scored.append(terms(name, distance, worker["slots"], used, late_ms, False))
        for one in sorted(scored, key=lambda found: -found.score):
            if self._reserve(session_id, one.worker_id):
                return one.worker_id
        return None

    def finish(self, session_id: str) -> None:
        """Gives the slot back; unknown sessions are left alone."""
        known = self._read(self._session(session_id))
        if known is not None:
            self._client.delete(self._session(session_id))
            name = str(known["worker_id"])
            worker = self._read(self._worker(name))
            if worker is not None:
                self._client.set(self._worker(name), json.dumps(_with(worker, -1)))

    def unsold(self) -> int:
        """Slots that are free, by what the workers' strings say."""
        names: Any = self._client.smembers(self._prefix + "workers")
        workers = [self._read(self._worker(name)) for name in names]
        return sum(max(0, one["slots"] - one["used"]) for one in workers if one is not None)

    def session_bytes(self, session_id: str) -> int:
        """Memory of one session's key."""
        size: Any = self._client.memory_usage(self._session(session_id))
        return int(size or 0)

    def _reserve(self, session_id: str, name: str) -> bool:
        """Looks once more, then writes: no longer gap than it must have."""
        worker = self._read(self._worker(name))
        if worker is None or worker["used"] >= worker["slots"]:
            return False
        self._client.set(self._worker(name), json.dumps(_with(worker, 1)))
        session = {"session_id": session_id, "worker_id": name, "status": "active"}
        self._client.set(self._session(session_id), json.dumps(session))
        return True

    def _read(self, key: str) -> dict[str, Any] | None:
        raw: Any = self._client.get(key)
        return json.loads(raw) if raw else None

    def _worker(self, name: str) -> str:
        return f"{self._prefix}worker:{name}"

    def _session(self, session_id: str) -> str:
        return f"{self._prefix}session:{session_id}"


def _with(worker: dict[str, Any], slots: int) -> dict[str, Any]:
    return {**worker, "used": worker["used"] + slots}
