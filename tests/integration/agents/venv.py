"""The environment of LiveKit Agents: it pins another livekit than the worker's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from ops.cell.files import ROOT

PLUGIN = ROOT / "plugins" / "livekit-plugins-rapido"
_FOLDER = ROOT / ".rapido" / "agents-venv"


def agents_python() -> Path:
    """Its python, with the plugin installed; made once, and again when what it holds changed.

    Raises CalledProcessError where a package cannot be installed; uv's words are printed.
    """
    requirements = PLUGIN / "requirements-test.txt"
    told = hashlib.sha256(sys.version.encode())
    for path in (requirements, PLUGIN / "pyproject.toml"):
        told.update(path.read_bytes())
    stamp, python = _FOLDER / "made-of", _FOLDER / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == told.hexdigest():
        return python
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _uv("venv", "--python", sys.executable, str(_FOLDER))
    install = ("pip", "install", "--python", str(python))
    _uv(*install, "-r", str(requirements))
    _uv(*install, "--no-deps", "--no-build-isolation", "-e", str(PLUGIN))
    stamp.write_text(told.hexdigest())
    return python


def _uv(*words: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([str(uv), *words, "--quiet"], check=True)
