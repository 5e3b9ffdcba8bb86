"""``rapido bench control``: what a cold function costs before it answers."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ops.cell.files import ROOT
from ops.figures import Figure, at_most, write

IMPORT_LIMIT_MS = 350.0
# PyJWT loads cryptography where it finds it; what ships (requirements.txt) does not hold it
_IMPORT = """
import sys, time
sys.modules["cryptography"] = None
began = time.perf_counter()
import app
print((time.perf_counter() - began) * 1000)
"""


def cold_import_ms(runs: int) -> tuple[float, float]:
    """Median milliseconds a new interpreter takes to import app.py; and what it takes to start.

    Byte code is compiled once before, as it is in a deployed package, whatever is set here.
    """
    with tempfile.TemporaryDirectory() as compiled:
        # the plugins as template.yaml sets them
        changes = {"PYDANTIC_DISABLE_PLUGINS": "__all__", "PYTHONPYCACHEPREFIX": compiled}
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | changes

        def imported() -> tuple[float, float]:
            began = time.perf_counter()
            answer = subprocess.run(
                [sys.executable, "-c", _IMPORT], check=True, cwd=ROOT, env=env, capture_output=True
            )
            whole_ms = (time.perf_counter() - began) * 1000
            import_ms = float(answer.stdout)
            return import_ms, whole_ms - import_ms

        imported()
        pairs = [imported() for _ in range(runs)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def control(out: Path, quick: bool, say: Callable[[str], None]) -> dict[str, Figure]:
    """The control plane: what a cold function costs before it answers."""
    say("a new interpreter imports app.py, again and again")
    took, bare = cold_import_ms(5 if quick else 15)
    figure = at_most(took, "ms", IMPORT_LIMIT_MS)
    note = "baseline: the interpreter's own start and end; ratio = value ÷ it"
    figures = {"import_ms": Figure(took, "ms", figure.goal, figure.holds, bare, took / bare, note)}
    write(out / "control.json", "control", figures)
    return figures
