"""``rapido bench``: figures, each beside a baseline of the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ops.cell.files import ROOT
from ops.demo.figures import Figure, at_most, write

IMPORT_LIMIT_MS = 350.0
# PyJWT loads cryptography where it finds it; what ships (requirements.txt) does not hold it
_NOT_DEPLOYED = "import sys; sys.modules['cryptography'] = None; "


def cold_import_ms(runs: int) -> tuple[float, float]:
    """Median time of a new interpreter importing app.py, less one that imports nothing; and that.

    Byte code is compiled once before, as it is in a deployed package.
    """

    # as template.yaml sets it
    env = {**os.environ, "PYDANTIC_DISABLE_PLUGINS": "__all__"}

    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _NOT_DEPLOYED + code], check=True, cwd=ROOT, env=env)
        return (time.perf_counter() - began) * 1000

    once("import app")
    pairs = [(once("pass"), once("import app")) for _ in range(runs)]
    bare = statistics.median(one for one, _ in pairs)
    return statistics.median(full - one for one, full in pairs), bare


def control(out: Path, quick: bool) -> dict[str, Figure]:
    """The control plane: what a cold function costs before it answers."""
    took, bare = cold_import_ms(5 if quick else 15)
    figure = at_most(took, "ms", IMPORT_LIMIT_MS)
    note = "value without the interpreter's own start, which is the baseline; ratio = value ÷ it"
    figures = {"import_ms": Figure(took, "ms", figure.goal, figure.holds, bare, took / bare, note)}
    write(out / "control.json", "control", figures)
    return figures
