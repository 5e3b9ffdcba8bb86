"""``rapido bench``: figures, each beside a baseline of the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ops.bench.control import control
from ops.bench.engine import engine
from ops.bench.load import load
from ops.bench.placement import placement
from ops.bench.stream import stream
from ops.figures import Figure

Bench = Callable[[Path, bool, Callable[[str], None]], dict[str, Figure]]
"""(folder of the results, quick, where progress is told) -> figures by name."""

BENCHES: Mapping[str, Bench] = {
    "control": control,
    "placement": placement,
    "load": load,
    "engine": engine,
    "stream": stream,
}
