"""The machines of a local cell's groups: each a worker process that signs as its instance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx

from ops.cell.ports import free_port
from ops.cell.provisioner import LocalNode
from ops.cell.sigv4 import node_key
from ops.cell.supervisor import Supervisor
from ops.cell.workers import WorkerIdentity, start_worker

_ASK_EVERY_S = 0.2
_SHUTDOWN_S = 8.0


@dataclass(frozen=True)
class WorkerMachines:
    """As ``Machines``. ``turn`` is held while a worker starts: one that measures its slots beside
    another finds half of them."""

    supervisor: Supervisor
    secret: str
    cell_url: str
    region: str
    cpu_share: float
    env: Mapping[str, str]
    module: str
    turn: AbstractContextManager[Any]

    def start(self, node: LocalNode) -> threading.Event:
        """Raises PartError: it ended, or was not ready in three minutes."""
        identity = WorkerIdentity(node.node_id, *node_key(self.secret, node.node_id))
        port = free_port()
        extra = {
            **self.env,
            "RAPIDO_ZONE": node.zone,
            "RAPIDO_INSTANCE_TYPE": node.instance_type,
            "RAPIDO_MARKET": node.market,
            "RAPIDO_PORT": str(port),
        }
        ready = _ready(port)

        def ready_or_gone(_: str) -> bool:
            return node.gone.is_set() or ready()

        with self.turn:
            part = start_worker(
                self.supervisor, identity, self.cell_url, self.region, self.cpu_share, extra,
                ready_or_gone, self.module,
            )  # fmt: skip
        return part.ended

    def stop(self, node: LocalNode) -> None:
        """Its worker gets a moment to say goodbye to the cell, as where systemd stops it."""
        if node.node_id in self.supervisor.names():
            self.supervisor.stop(node.node_id, _SHUTDOWN_S)


def _ready(port: int) -> Callable[[], bool]:
    """What a node's first script asks of its worker, not more often than is good for it."""
    client = httpx.Client(trust_env=False, timeout=5.0)
    asked_s = 0.0

    def ready() -> bool:
        nonlocal asked_s
        if time.monotonic() - asked_s < _ASK_EVERY_S:
            return False
        asked_s = time.monotonic()
        try:
            return client.get(f"http://127.0.0.1:{port}/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    return ready
