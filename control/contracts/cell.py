"""What operators and health checks read about a cell."""

from __future__ import annotations

from typing import Literal

from control.contracts.base import Message, Utc
from control.contracts.worker import Hardware, WorkerState


class Health(Message):
    """``GET /health``: the process answers, nothing else was touched."""

    status: Literal["ok"] = "ok"
    cell: str
    version: str


class Ready(Message):
    """``GET /health/ready``: each dependency by name, ``ok`` or the fault."""

    status: Literal["ready", "unready"]
    cell: str
    dependencies: dict[str, str]


class WorkerView(Message):
    """One worker, as the cell knows it."""

    worker_id: str
    state: WorkerState
    alive: bool
    region: str
    zone: str
    url: str
    version: str
    slots: int
    used: int
    avatars: tuple[str, ...]
    lateness_p95_ms: float
    hardware: Hardware
    last_seen_at: Utc


class WorkerPage(Message):
    """All workers of the cell, by name."""

    workers: tuple[WorkerView, ...]


class Fleet(Message):
    """The cell's sums."""

    cell: str
    workers: int
    workers_alive: int
    slots: int
    used: int
    free: int
    sessions: dict[str, int]
    """Count of sessions by status."""
    leaked: int
    """Slots still counted on workers that are gone: 0 but for moments."""
    repairs: dict[str, int]
    """What reconciliation put right: leases ``revoked`` that a worker ran without, runs ``adopted``
    that the store had forgotten, leases ``unrun`` by their worker."""
