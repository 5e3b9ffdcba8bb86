"""The parts of a cell: they start, their death is told, and nothing outlives the parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
import valkey

from ops.cell.files import ROOT
from ops.cell.livekit import start_livekit
from ops.cell.livekit_binary import livekit_server
from ops.cell.ports import free_ports
from ops.cell.postgres import remove_outside_data, start_postgres
from ops.cell.postgres_binaries import reachable
from ops.cell.supervisor import Death, PartError, Supervisor
from ops.cell.valkey import start_valkey

NOBODY = 65534


@dataclass
class Watched:
    """A supervisor whose deaths can be waited for."""

    folder: Path
    deaths: list[Death] = field(default_factory=list)
    died: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.folder / "logs", self._died)

    def _died(self, death: Death) -> None:
        self.deaths.append(death)
        self.died.set()

    def run(self, script: str, name: str = "part") -> None:
        """A part that is ready once its log says so."""
        log = self.folder / "logs" / f"{name}.log"
        argv = [sys.executable, "-u", "-c", script]
        self.supervisor.start(name, argv, dict(os.environ), lambda: "ready" in log.read_text(), 20)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    one = Watched(tmp_path)
    yield one
    one.supervisor.stop_all()
    remove_outside_data(tmp_path)


def gone(pid: int, timeout_s: float = 15.0) -> bool:
    """Waits for a process that is no child of ours to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def test_valkey_answers_only_with_its_password(watched: Watched) -> None:
    url = start_valkey(watched.supervisor, watched.folder)
    with valkey.Valkey.from_url(url) as client:
        client.set("a", "b")
        assert client.get("a") == b"b"
    port = valkey.connection.parse_url(url)["port"]
    with valkey.Valkey(port=port) as stranger, pytest.raises(valkey.AuthenticationError):
        stranger.get("a")


def test_postgres_answers_and_keeps_its_data(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for expected in (1, 2):
        one = Watched(tmp_path)
        try:
            url = start_postgres(one.supervisor, tmp_path)
            with psycopg.connect(url) as connection:
                connection.execute("create table if not exists seen (at int)")
                connection.execute("insert into seen values (1)")
                row = connection.execute("select count(*) from seen").fetchone()
        finally:
            one.supervisor.stop_all()
        assert row == (expected,)
    remove_outside_data(tmp_path)


def test_postgres_runs_where_its_user_cannot_reach_the_state_folder(
    watched: Watched, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root hands PostgreSQL to another user")
    tmp_path.chmod(0o700)
    url = start_postgres(watched.supervisor, tmp_path)
    with psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    outside = Path((tmp_path / "postgres.outside").read_text())
    assert outside.stat().st_uid == NOBODY
    watched.supervisor.stop_all()
    remove_outside_data(tmp_path)
    assert not outside.exists()


START_POSTGRES = """
import sys
from pathlib import Path
import psycopg
from ops.cell.postgres import start_postgres
from ops.cell.supervisor import Supervisor
folder = Path(sys.argv[1])
supervisor = Supervisor(folder / "logs", print)
with psycopg.connect(start_postgres(supervisor, folder)) as connection:
    print(connection.execute("select 'answered'").fetchone()[0])
supervisor.stop_all()
"""


def test_postgres_runs_for_a_user_who_is_not_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() == 0 and not reachable(Path(sys.executable), NOBODY):
        pytest.skip("another user cannot execute this environment's Python")
    folder = Path(os.path.realpath("/tmp")) / f"rapido-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    user = NOBODY if os.geteuid() == 0 else None
    try:
        if user is not None:
            os.chown(folder, user, user)
        result = subprocess.run(
            [sys.executable, "-B", "-c", START_POSTGRES, str(folder)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
        )
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert result.stdout.strip() == "answered", result.stderr


def test_livekit_answers_on_loopback(watched: Watched) -> None:
    livekit = start_livekit(watched.supervisor, watched.folder, "http://127.0.0.1:9/webhook")
    assert httpx.get(livekit.url.replace("ws://", "http://")).text == "OK"
    config = watched.folder / "livekit.yaml"
    assert config.stat().st_mode & 0o077 == 0


def test_without_livekit_and_go_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RAPIDO_LIVEKIT_SERVER", raising=False)
    with pytest.raises(PartError, match=r"install Go 1\.26"):
        livekit_server()


def test_an_old_go_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RAPIDO_LIVEKIT_SERVER", raising=False)
    with pytest.raises(PartError, match=r"go1\.19\.8.*too old"):
        livekit_server()


def test_a_named_livekit_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPIDO_LIVEKIT_SERVER", "/nowhere/livekit-server")
    with pytest.raises(PartError, match="RAPIDO_LIVEKIT_SERVER"):
        livekit_server()


def test_two_of_each_live_side_by_side(watched: Watched) -> None:
    urls = {start_valkey(watched.supervisor, watched.folder, name=name) for name in ("one", "two")}
    for url in urls:
        with valkey.Valkey.from_url(url) as client:
            assert client.ping()
    assert len(urls) == 2
    assert len(set(free_ports(20))) == 20


def test_a_part_that_dies_is_told_with_its_last_lines(watched: Watched) -> None:
    script = "import sys\nfor n in range(30): print('line', n)\nprint('ready')\nsys.stdin.read()"
    watched.run(script + "\nimport time; time.sleep(600)")
    watched.supervisor.kill("part")
    assert watched.died.wait(10)
    told = watched.deaths[0].describe()
    assert "part" in told
    assert "SIGKILL" in told
    assert "line 29" in told
    assert "line 10" not in told


def test_an_exit_code_is_told(watched: Watched) -> None:
    on_signal = "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))"
    watched.run(f"import signal, sys; {on_signal}; print('ready'); signal.pause()")
    os.kill(watched.supervisor["part"].pid, signal.SIGUSR1)
    assert watched.died.wait(10)
    assert watched.deaths[0].returncode == 7


def test_a_part_that_ends_before_it_is_ready_says_why(watched: Watched) -> None:
    with pytest.raises(PartError, match="no good port"):
        watched.run("raise SystemExit('no good port')")
    assert watched.supervisor.names() == ()
    assert watched.deaths == []


def test_a_part_that_is_never_ready_is_stopped(watched: Watched, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(PartError, match="not ready"):
        watched.supervisor.start("late", argv, dict(os.environ), lambda: False, 0.3)
    assert watched.supervisor.names() == ()


def test_a_program_that_does_not_exist_is_told(watched: Watched) -> None:
    with pytest.raises(PartError, match="nothing cannot be started"):
        watched.supervisor.start("nothing", ["/nowhere/program"], {}, lambda: True)


def test_stopping_takes_a_deaf_part_and_its_children(watched: Watched) -> None:
    script = (
        "import os, signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, 'ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    watched.run(script)
    part = watched.supervisor["part"]
    child = int(part.tail()[-1].split()[0])
    watched.supervisor.stop("part", grace_s=0.2)
    assert gone(child)
    assert gone(part.pid)
    assert watched.deaths == []


START_PARTS = """
import sys, threading
from pathlib import Path
from ops.cell.livekit import start_livekit
from ops.cell.postgres import start_postgres
from ops.cell.supervisor import Supervisor
from ops.cell.valkey import start_valkey
folder = Path(sys.argv[1])
supervisor = Supervisor(folder / "logs", print)
start_valkey(supervisor, folder)
start_postgres(supervisor, folder)
start_livekit(supervisor, folder, "http://127.0.0.1:9/webhook")
print(*(supervisor[name].pid for name in supervisor.names()), flush=True)
threading.Event().wait()
"""


def test_a_parent_killed_outright_leaves_no_process(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", START_PARTS, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    try:
        assert len(pids) == 3
        assert all(gone(pid) for pid in pids)
    finally:
        remove_outside_data(tmp_path)
