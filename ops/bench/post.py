"""Processor time of one request in the function alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.cell.files import ROOT, own_environment

_ENVIRONMENT = {
    "POWERTOOLS_SERVICE_NAME": "rapido",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "RAPIDO_TRACING": "0",
}


@dataclass(frozen=True)
class Spent:
    """Microseconds of processor time a request."""

    post_us: float
    health_us: float


def measure(folder: Path, blocks: int) -> Spent:
    """Medians over ``blocks`` of 200 requests each, of POST sessions and of GET health.

    In a process of its own, whose standard output is the function's log.
    """
    result = folder / "post.json"
    subprocess.run(
        [sys.executable, "-m", "ops.bench.post_alone", str(result), str(blocks)],
        check=True,
        cwd=ROOT,
        env=own_environment() | _ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    return Spent(**json.loads(result.read_text()))
