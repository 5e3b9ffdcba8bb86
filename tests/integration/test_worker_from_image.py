"""The worker's image without an engine for containers: its files, its settings, its command."""

from __future__ import annotations

import base64
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from control.contracts.worker import (
    Heartbeat,
    HeartbeatReply,
    Register,
    Registered,
    RoomAccess,
    WorkerState,
)
from ops.cell.ports import free_port
from tests.worker_image import environment, health_check, lay_out, value_of

WAIT_S = 90
Heard = queue.Queue[Register | Heartbeat]


def test_a_worker_of_the_images_files_registers_and_takes_streams(tmp_path: Path) -> None:
    lay_out(tmp_path)
    with listening_cell() as (url, heard):
        settings = worker_settings(tmp_path, url)
        with (tmp_path / "log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, *command()], cwd=app(tmp_path), env=settings, stderr=log
            )
        try:
            registered = heard.get(timeout=WAIT_S)
            assert isinstance(registered, Register), (tmp_path / "log").read_text(encoding="utf-8")
            assert (registered.worker_id, registered.avatars) == ("i-0abc", ("demo",))

            ready = next(
                one
                for one in iter(lambda: heard.get(timeout=WAIT_S), None)
                if isinstance(one, Heartbeat) and one.slots > 0
            )
            assert ready.slots == 2
            subprocess.run(health_check(), env=settings, check=True, timeout=10)

            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        finally:
            worker.kill()
            worker.wait(10)


def app(root: Path) -> Path:
    return root / value_of("WORKDIR").lstrip("/")


def command() -> list[str]:
    """ENTRYPOINT without its first word, the interpreter."""
    first, *rest = [one.strip(' "') for one in value_of("ENTRYPOINT").strip("[]").split(",")]
    assert first == "python"
    return rest


def worker_settings(root: Path, cell_url: str) -> dict[str, str]:
    """What the image sets, and what a node adds; on a CPU, with folders of this test's."""
    port, cache = str(free_port()), str(root / "cache")
    return environment() | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(app(root)),
        "XDG_CACHE_HOME": cache,
        "TRITON_CACHE_DIR": cache,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "RAPIDO_WORKER_ID": "i-0abc",
        "RAPIDO_CELL_URLS": cell_url,
        "RAPIDO_REGION": "us-east-1",
        "RAPIDO_HOST": "127.0.0.1",
        "RAPIDO_PORT": port,
        "RAPIDO_DEVICE": "cpu",
        "RAPIDO_SLOTS": "2",
        "RAPIDO_DRAIN_LIMIT_S": "0",
    }


@contextmanager
def listening_cell() -> Iterator[tuple[str, Heard]]:
    """A cell that takes every worker and remembers what they say."""
    heard: Heard = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/v1/workers":
                heard.put(Register.model_validate_json(body))
                self.answer(201, registered().model_dump_json())
            elif self.path.endswith("/heartbeat"):
                heard.put(Heartbeat.model_validate_json(body))
                reply = HeartbeatReply(desired_state=WorkerState.READY, heartbeat_interval_s=0.2)
                self.answer(200, reply.model_dump_json())
            else:
                self.answer(404, "{}")

        def do_DELETE(self) -> None:
            self.answer(204, "")

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()


def registered() -> Registered:
    nowhere = RoomAccess(url="ws://127.0.0.1:1", room="probe", token="t")
    key = base64.urlsafe_b64encode(bytes(32)).decode()
    return Registered(
        registration=1, key=key, heartbeat_interval_s=0.2, dead_after_s=15, probe=(nowhere,)
    )
