"""Finds the LiveKit server, or builds the pinned version once; ``python -m`` does it ahead."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ops.cell.files import cache_dir
from ops.cell.supervisor import PartError

VERSION = "v1.13.5"
GO_AT_LEAST = (1, 26)
_MODULE = f"github.com/livekit/livekit-server/cmd/server@{VERSION}"
_PROGRESS_EVERY_S = 5.0
_REMEDY = (
    "install Go 1.26 or newer (go.dev/dl), or put a livekit-server on PATH, "
    "or name one in RAPIDO_LIVEKIT_SERVER"
)


def livekit_server(report: Callable[[str], None] = print) -> Path:
    """The server's path: RAPIDO_LIVEKIT_SERVER, PATH, the cache, else built with Go.

    Raises:
        PartError: there is none and it cannot be built; the message says what to do.
    """
    named = os.environ.get("RAPIDO_LIVEKIT_SERVER")
    if named:
        if not os.access(named, os.X_OK):
            raise PartError(f"RAPIDO_LIVEKIT_SERVER: {named} is not a program; correct or unset it")
        return Path(named)
    on_path = shutil.which("livekit-server")
    if on_path:
        return Path(on_path)
    built = cache_dir() / "bin" / f"livekit-server-{VERSION}" / "server"
    if not os.access(built, os.X_OK):
        _build(built, report)
    return built


def _build(target: Path, report: Callable[[str], None]) -> None:
    go = shutil.which("go")
    if go is None:
        raise PartError(f"no livekit-server and no Go to build one: {_REMEDY}")
    _check_go(go)
    target.parent.mkdir(parents=True, exist_ok=True)
    report(f"livekit-server {VERSION}: building it with Go, once, about three minutes")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        environment = {**os.environ, "GOBIN": folder}
        log = Path(folder) / "build.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [go, "install", "-v", _MODULE], env=environment, stdout=output, stderr=output
            ) as process,
        ):
            try:
                _tell_progress(process, log, started, report)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise PartError(f"livekit-server {VERSION} could not be built:\n{tail}\n{_REMEDY}")
        (Path(folder) / "server").replace(target)
    report(f"livekit-server {VERSION}: built in {time.monotonic() - started:.0f} s")


def _check_go(go: str) -> None:
    text = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", text)
    if match is None or (int(match.group(1)), int(match.group(2))) < GO_AT_LEAST:
        raise PartError(f"{text.strip() or go}: too old to build livekit-server; {_REMEDY}")


def _tell_progress(
    process: subprocess.Popen[bytes], log: Path, started: float, report: Callable[[str], None]
) -> None:
    while True:
        try:
            process.wait(_PROGRESS_EVERY_S)
        except subprocess.TimeoutExpired:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            downloads = sum(line.startswith("go: downloading") for line in lines)
            elapsed_s = time.monotonic() - started
            report(
                f"livekit-server {VERSION}: {elapsed_s:.0f} s, {downloads} modules fetched, "
                f"{len(lines) - downloads} packages compiled"
            )
        else:
            return


if __name__ == "__main__":
    livekit_server()
