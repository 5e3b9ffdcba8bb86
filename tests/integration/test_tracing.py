"""Where tracing is switched on, a call's segment reaches X-Ray's daemon, and no answer is in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

from ops.cell.files import ROOT

_TRACE = "Root=1-6560e2f1-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"
_CALL = """
from control.entrypoints.telemetry import traced

@traced
def grant() -> dict[str, str]:
    return {"token": "a-room-token"}

grant()
"""


def run(tracing: str, daemon: socket.socket) -> None:
    host, port = daemon.getsockname()
    environment = {
        **os.environ,
        "RAPIDO_TRACING": tracing,
        "LAMBDA_TASK_ROOT": str(ROOT),  # as Lambda sets it; without it the tracer stays off
        "_X_AMZN_TRACE_ID": _TRACE,
        "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}",
    }
    command = [sys.executable, "-c", _CALL]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=60)


def test_a_traced_call_reaches_the_daemon_without_its_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(10.0)

        run("1", daemon)
        segment = daemon.recv(65_536).decode()

    told = json.loads(segment.partition("\n")[2])
    assert told["name"].endswith("grant")
    assert told["trace_id"] == "1-6560e2f1-0123456789abcdef01234567"
    assert "a-room-token" not in segment


def test_nothing_is_sent_where_tracing_is_off() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.setblocking(False)

        run("0", daemon)

        try:
            daemon.recv(65_536)
        except BlockingIOError:
            return
    raise AssertionError("a segment was sent")
