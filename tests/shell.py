"""ShellCheck on scripts that only a node would run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def shell_faults(script: str) -> str:
    """What it finds, a line a fault; empty where there is none."""
    linter = Path(sys.executable).parent / "shellcheck"
    told = subprocess.run(
        [linter, "--format=gcc", "-"], input=script, text=True, capture_output=True, check=False
    )
    assert told.returncode in (0, 1), told.stderr
    return told.stdout
