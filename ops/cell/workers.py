"""Workers of a local cell: each a process with an identity, a port and credentials of its own."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ops.cell.files import ROOT, own_environment
from ops.cell.supervisor import Part, Supervisor

MAX_WORKERS = 64
"""The gateway learns all credentials when it starts: one pair is made for each worker to come."""

START_TIMEOUT_S = 180.0
REAL = "gpu_node"
LIGHT = "ops.cell.light_worker"
"""The module of workers without engine and room."""


@dataclass(frozen=True)
class WorkerIdentity:
    """A worker's name and the key pair that signs for it."""

    worker_id: str
    access_key: str
    secret: str


def make_identities(cell: str) -> tuple[WorkerIdentity, ...]:
    """Identities for every worker this cell may ever start."""
    return tuple(
        WorkerIdentity(f"{cell}-w{n}", f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20))
        for n in range(1, MAX_WORKERS + 1)
    )


def credentials_json(
    identities: tuple[WorkerIdentity, ...], more: Mapping[str, tuple[str, str]]
) -> str:
    """RAPIDO_LOCAL_CREDENTIALS as the gateway reads it; ``more`` is in its form already."""
    return json.dumps({i.access_key: [i.secret, i.worker_id] for i in identities} | dict(more))


def start_worker(
    supervisor: Supervisor,
    identity: WorkerIdentity,
    cell_url: str,
    region: str,
    cpu_share: float,
    extra: Mapping[str, str],
    announced: Callable[[str], bool],
    module: str = REAL,
) -> Part:
    """Starts one worker; returns once ``announced(worker_id)``: its cell counts its slots.

    Raises:
        PartError: it ended or was not ready in 180 s; the message holds its log.
    """
    environment = {
        **own_environment(),
        "AWS_ACCESS_KEY_ID": identity.access_key,
        "AWS_SECRET_ACCESS_KEY": identity.secret,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAPIDO_WORKER_ID": identity.worker_id,
        "RAPIDO_CELL_URLS": cell_url,
        "RAPIDO_REGION": region,
        "RAPIDO_ZONE": f"{region}a",
        "RAPIDO_HOST": "127.0.0.1",
        "RAPIDO_CPU_SHARE": str(cpu_share),
        "RAPIDO_DRAIN_LIMIT_S": "1",
        **extra,
    }
    return supervisor.start(
        identity.worker_id,
        [sys.executable, "-m", module],
        environment,
        lambda: announced(identity.worker_id),
        START_TIMEOUT_S,
        cwd=ROOT,
    )


def announced_slots(cell_url: str, operator_key: str) -> dict[str, int]:
    """Slots by worker, of those that are alive and ready; empty while the cell does not answer."""
    headers = {"Authorization": f"Bearer {operator_key}"}
    try:
        answer = httpx.get(f"{cell_url}/api/v1/workers", headers=headers, timeout=5.0)
        answer.raise_for_status()
    except httpx.HTTPError:
        return {}
    workers: list[dict[str, Any]] = answer.json()["workers"]
    return {w["worker_id"]: w["slots"] for w in workers if w["alive"] and w["state"] == "ready"}
