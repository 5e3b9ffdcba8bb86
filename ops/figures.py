"""A report's figures: values beside their baselines and goals, as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """``holds`` is None where nothing is asked for."""

    value: float
    unit: str
    goal: str
    holds: bool | None
    baseline: float | None = None
    ratio: float | None = None
    note: str = ""
    baseline_unit: str | None = None
    """None: the value's own."""


def at_most(
    value: float, unit: str, limit: float, baseline: float | None = None, times: float = 0.0
) -> Figure:
    """Holds at or under ``limit``, or at or under ``times`` the baseline of the same run."""
    holds = value <= limit or (baseline is not None and value <= times * baseline)
    goal = f"≤ {limit:g}" + (f" or {times:g} x bare" if baseline is not None else "")
    ratio = value / baseline if baseline else None
    note = "ratio = value ÷ baseline" if baseline else ""
    return Figure(value, unit, goal, holds, baseline, ratio, note)


def at_least(value: float, unit: str, limit: float) -> Figure:
    """Holds at or over ``limit``."""
    return Figure(value, unit, f"≥ {limit:g}", value >= limit)


def exactly(value: float, unit: str, wanted: float) -> Figure:
    """Holds when equal."""
    return Figure(value, unit, f"= {wanted:g}", value == wanted)


def p95(values: Sequence[float]) -> float:
    """95th percentile; infinite of nothing, so that nothing measured never holds."""
    return float(np.percentile(np.asarray(values, float), 95)) if len(values) else float("inf")


def median(values: Sequence[float]) -> float:
    """Infinite of nothing."""
    return float(np.median(np.asarray(values, float))) if len(values) else float("inf")


def write(
    path: Path, bench: str, figures: Mapping[str, Figure], gpu: str | None = None
) -> dict[str, Any]:
    """The report's file, and what it holds; ``gpu`` is the one that was measured."""
    report = {
        "bench": bench,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "gpu": gpu},
        "figures": {name: _rounded(asdict(figure)) for name, figure in figures.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return report


def _rounded(figure: dict[str, Any]) -> dict[str, Any]:
    return {
        key: (float(f"{v:.6g}") if np.isfinite(v) else None) if isinstance(v, float) else v
        for key, v in figure.items()
    }


def show(figures: Mapping[str, Figure], console: Console) -> None:
    """The table on screen."""
    table = Table(title="What was measured", title_justify="left")
    for column in ("figure", "value", "bare", "goal", ""):
        table.add_column(
            column, justify="left" if column in ("figure", "") else "right", overflow="fold"
        )
    for name, one in figures.items():
        bare = "" if one.baseline is None else f"{one.baseline:.3g} {one.baseline_unit or one.unit}"
        mark = {True: "[green]holds", False: "[red]missed", None: ""}[one.holds]
        table.add_row(name, f"{one.value:.3g} {one.unit}", bare, one.goal, mark)
    console.print(table)


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
