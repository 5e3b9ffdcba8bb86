"""``rapido bench``: figures, each beside a baseline of the same run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.figures import Figure

Bench = Callable[[Path, bool, Callable[[str], None]], "dict[str, Figure]"]
"""(folder of the results, quick, where progress is told) -> figures by name."""

BENCHES = ("control", "placement", "load", "engine", "stream", "fleet")
"""Each is the function of its name in the module of its name, imported when it runs: the command's
help needs the names, and none of what they measure."""


def find(name: str) -> Bench:
    """The bench of that name, one of BENCHES."""
    bench: Bench = getattr(import_module(f"ops.bench.{name}"), name)
    return bench
