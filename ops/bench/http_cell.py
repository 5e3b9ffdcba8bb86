"""The functions' process of a cell in front of a store, and nothing else real behind it."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from control.services import access
from ops.bench.stage import REGION, Stage
from ops.cell.aws import aws_environment
from ops.cell.deploy import queue_urls
from ops.cell.files import ROOT, own_environment, write_private
from ops.cell.functions import FunctionsPlan
from ops.cell.http_server import listening
from ops.cell.ports import free_ports
from ops.cell.supervisor import Supervisor
from ops.cell.template import Template

CELL = "bench"
_NOWHERE = "127.0.0.1:9"


@dataclass(frozen=True)
class HttpCell:
    """Where it listens, and a client's key."""

    port: int
    key: str
    stage: Stage

    def restock(self, workers: int, slots: int) -> None:
        """Forgets all sessions and workers; as many new ones, and the key again."""
        self.stage.raw.flushall(asynchronous=True)
        self.stage.registrations.clear()
        facts = {"tenant": "school", "role": "client"}
        self.stage.store.put_key(access.digest(self.key), facts)
        self.stage.enlist(workers, slots)


def start_http_cell(supervisor: Supervisor, folder: Path, store_url: str) -> HttpCell:
    """Starts functions and the stand-in for AWS under ``supervisor``.

    Raises:
        PartError: one of them did not start; the message holds its log.
    """
    api_port, invoke_port = free_ports(2)
    aws_url = start_aws(supervisor)
    plan = functions_plan(store_url, aws_url, api_port, invoke_port)
    path = folder / "functions.json"
    write_private(path, plan.write())
    environment = {
        **own_environment(),
        **aws_environment(aws_url, REGION),
        **plan.deployment().environment(),
        # on AWS the minute's tick is a process of its own: here it would share this one
        "RAPIDO_SCHEDULE_SCALE": "0.001",
    }

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{api_port}/health", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    argv = [sys.executable, "-m", "ops.cell.functions", str(path)]
    supervisor.start("functions", argv, environment, answers, 60.0, cwd=ROOT)
    return HttpCell(api_port, "rk_" + secrets.token_urlsafe(32), Stage(store_url, CELL))


def functions_plan(
    store_url: str, aws_url: str, api_port: int = 0, invoke_port: int = 0
) -> FunctionsPlan:
    """The template's functions in front of that store; the ports are for who serves them."""
    template = ROOT / "template.yaml"
    parameters = {
        "CellName": CELL,
        "StoreUrl": store_url,
        "DatabaseUrl": f"postgresql://{_NOWHERE}/none",
        "LivekitServers": json.dumps([{"region": REGION, "url": f"ws://{_NOWHERE}"}]),
        "LivekitSecretId": "bench",
    }
    urls = queue_urls(Template(template).resolve(parameters, {}, REGION), aws_url)
    return FunctionsPlan(str(template), parameters, urls, REGION, api_port, invoke_port)


def start_aws(supervisor: Supervisor) -> str:
    """Starts the stand-in for AWS and returns its address. Raises PartError."""
    (port,) = free_ports(1)
    parts = ("livekit_api_key", "livekit_api_secret", "worker_root_key")
    held = json.dumps({part: secrets.token_urlsafe(32) for part in parts})
    supervisor.start(
        "aws",
        [sys.executable, "-m", "ops.bench.aws_standin", str(port)],
        {**own_environment(), "RAPIDO_BENCH_SECRET": held},
        lambda: listening(port),
        cwd=ROOT,
    )
    return f"http://127.0.0.1:{port}"
