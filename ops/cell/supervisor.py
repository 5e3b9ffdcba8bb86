"""Child processes that never outlive their parent, and whose death is told with its reason."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

LOG_LINES = 15
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Death:
    """A part that ended without being told to."""

    name: str
    pid: int
    returncode: int
    log_tail: tuple[str, ...]

    def describe(self) -> str:
        """Which part, how it ended, and its last log lines."""
        how = f"exit code {self.returncode}"
        if self.returncode < 0:
            how = f"signal {signal.Signals(-self.returncode).name}"
        lines = "\n".join(f"    {line}" for line in self.log_tail) or "    (its log is empty)"
        return f"{self.name} (process {self.pid}) ended by {how}; its last log lines:\n{lines}"


class PartError(RuntimeError):
    """A part did not start; the message holds its last log lines."""


class Part:
    """One running child."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], log: Path, stop_signal: signal.Signals
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.log = log
        self.stop_signal = stop_signal
        self.process = process
        # Until it is ready, whoever starts it is told.
        self.expected_to_end = True
        self.ended = threading.Event()

    def tail(self, lines: int = LOG_LINES) -> tuple[str, ...]:
        """The last lines of its log."""
        text = self.log.read_bytes()[-20_000:].decode("utf-8", errors="replace")
        return tuple(text.splitlines()[-lines:])

    def kill_group(self) -> None:
        """Kills it and every child it made."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Supervisor:
    """Starts parts in order, watches them, stops them in reverse order."""

    def __init__(self, log_dir: Path, on_death: Callable[[Death], None]) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._on_death = on_death
        self._parts: dict[str, Part] = {}
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        # The kernel sends the death signal when the *thread* that forked ends: fork from one
        # thread that lives as long as the supervisor does.
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def names(self) -> tuple[str, ...]:
        """Parts that run, in the order they were started."""
        with self._lock:
            return tuple(name for name, part in self._parts.items() if not part.ended.is_set())

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        ready: Callable[[], bool],
        timeout_s: float = 30.0,
        *,
        cwd: Path | None = None,
        uid: int | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Part:
        """Starts a part and returns once ``ready`` says yes.

        Raises:
            PartError: it ended, or was not ready within ``timeout_s``; it runs no more then.
        """
        log = self._log_dir / f"{name}.log"
        part = self._spawner.submit(
            self._spawn, name, tuple(argv), dict(env), log, cwd, uid, stop_signal
        ).result()
        with self._lock:
            self._parts[name] = part
        threading.Thread(
            target=self._watch, args=(part,), name=f"watch-{name}", daemon=True
        ).start()
        try:
            self._await_ready(part, ready, timeout_s)
            part.expected_to_end = False
            self._check_alive(part)
        except BaseException:
            self.stop(name)
            raise
        return part

    def cancel(self) -> None:
        """Parts that are being started give up: the rest failed, or nobody wants them now."""
        self._cancelled.set()

    def kill(self, name: str) -> None:
        """Kills a part with SIGKILL, as a crash would; its death is reported."""
        part = self._parts[name]
        part.kill_group()
        part.ended.wait()

    def stop(self, name: str, grace_s: float = 8.0) -> None:
        """Asks a part to end, waits ``grace_s``, then kills it and its children."""
        part = self._parts[name]
        part.expected_to_end = True
        if not part.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(part.pid, part.stop_signal)
        part.ended.wait(grace_s)
        part.kill_group()
        part.ended.wait()

    def stop_all(self, grace_s: float = 8.0) -> None:
        """Stops every part, the last started first. May be called again."""
        with self._lock:
            names = tuple(self._parts)
        for name in reversed(names):
            self.stop(name, grace_s)
        self._spawner.shutdown()

    def _spawn(
        self,
        name: str,
        argv: tuple[str, ...],
        env: dict[str, str],
        log: Path,
        cwd: Path | None,
        uid: int | None,
        stop_signal: signal.Signals,
    ) -> Part:
        parent = os.getpid()

        def die_with_parent() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)

        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    argv,
                    env=env,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=uid,
                    group=uid,
                    extra_groups=None if uid is None else [],
                    preexec_fn=die_with_parent,
                )
        except OSError as error:
            raise PartError(f"{name} cannot be started: {error}") from error
        return Part(name, process, log, stop_signal)

    def _watch(self, part: Part) -> None:
        returncode = part.process.wait()
        part.ended.set()
        if not part.expected_to_end:
            self._on_death(Death(part.name, part.pid, returncode, part.tail()))

    def _check_alive(self, part: Part) -> None:
        if part.ended.is_set():
            death = Death(part.name, part.pid, part.process.returncode, part.tail())
            raise PartError(death.describe())

    def _await_ready(self, part: Part, ready: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            part.ended.wait(_POLL_S)
            self._check_alive(part)
            if self._cancelled.is_set():
                raise PartError(f"{part.name} was not waited for: the start was given up")
            if time.monotonic() > deadline:
                lines = "\n".join(f"    {line}" for line in part.tail())
                raise PartError(
                    f"{part.name} was not ready in {timeout_s:.0f} s; its last log lines:\n{lines}"
                )
