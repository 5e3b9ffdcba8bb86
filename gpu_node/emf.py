"""The registry as CloudWatch's embedded metric format: one log line that becomes metrics.

A label becomes part of the metric's name (``sessions_live``), not a dimension: each combination of
dimensions is a metric to be paid for.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

NAMESPACE = "Rapido"
_MOST_METRICS = 100  # a directive
_MOST_VALUES = 100  # a metric
_EVERY_S = 60.0
_AT_S = 30.0
"""Past the minute: a worker's line falls into each of CloudWatch's periods once."""
_PROCESS = frozenset(
    ("process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"),
)
_UNITS = {"seconds": "Seconds", "bytes": "Bytes", "percent": "Percent"}
_NO_UNIT = ("celsius", "watts")

Totals = Mapping[str, float]
Value = float | list[float]


def document(
    families: Iterable[Metric],
    before: Totals,
    dimensions: Mapping[str, str],
    properties: Mapping[str, str],
    at_ms: int,
) -> tuple[dict[str, Any], Totals]:
    """The document, and the totals to give as ``before`` next time.

    Gauges are values, counters what was added since, histograms up to a hundred values spread as
    the observations were (CloudWatch's percentiles hold over any number of workers) and their
    ``_count``.
    """
    values: dict[str, Value] = {}
    units: dict[str, str] = {}
    totals: dict[str, float] = {}
    for family in families:
        if family.name.startswith("rapido_") or family.name in _PROCESS:
            found = _of(family, before, totals)
            values |= found
            units |= dict.fromkeys(found, _unit(family.name))
    units |= {name: "Count" for name in values if name.endswith("_count")}
    metrics = [{"Name": name, "Unit": units[name]} for name in values]
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": metrics[start : start + _MOST_METRICS],
        }
        for start in range(0, len(metrics), _MOST_METRICS)
    ]
    head = {"Timestamp": at_ms, "CloudWatchMetrics": directives}
    return {"_aws": head, **properties, **dimensions, **values}, totals


def _of(family: Metric, before: Totals, totals: dict[str, float]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    buckets: dict[str, list[tuple[float, float]]] = {}
    for sample in family.samples:
        labels = {key: value for key, value in sample.labels.items() if key != "le"}
        name = "_".join([family.name.removeprefix("rapido_"), *labels.values()])
        key = json.dumps([sample.name, sample.labels])
        if family.type == "gauge":
            if math.isfinite(sample.value):
                values[name] = sample.value
            continue
        added = sample.value - before.get(key, 0.0)
        if sample.name.endswith("_total"):
            totals[key] = sample.value
            values[name] = added
        elif sample.name.endswith("_bucket"):
            totals[key] = sample.value
            buckets.setdefault(name, []).append((float(sample.labels["le"]), added))
    for name, counts in buckets.items():
        values[f"{name}_count"] = counts[-1][1]
        if counts[-1][1] > 0:
            values[name] = _spread(counts)
    return values


def _spread(cumulative: list[tuple[float, float]]) -> list[float]:
    """Values in the middle of equal shares of the observations, straight within each bucket."""
    count = int(cumulative[-1][1])
    shares = min(count, _MOST_VALUES)
    values: list[float] = []
    low, below, at = 0.0, 0.0, 0
    for share in range(shares):
        rank = (share + 0.5) * count / shares
        while cumulative[at][1] < rank:
            low, below = cumulative[at]
            at += 1
        high, through = cumulative[at]
        if math.isinf(high):
            values.append(low)  # past the last bound no more is known
        else:
            values.append(round(low + (high - low) * (rank - below) / (through - below), 9))
    return values


def _unit(name: str) -> str:
    last = name.rpartition("_")[2]
    return "None" if last in _NO_UNIT else _UNITS.get(last, "Count")


class Emf:
    """Writes a line a minute."""

    def __init__(
        self,
        registry: CollectorRegistry,
        dimensions: Mapping[str, str],
        properties: Mapping[str, str],
        write: Callable[[str], object] = sys.stdout.write,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._dimensions = dimensions
        self._properties = properties
        self._write = write
        self._clock = clock
        self._totals: Totals = {}

    async def run(self) -> None:
        """Until cancelled; then writes what was not written yet."""
        try:
            while True:
                await asyncio.sleep(_EVERY_S - (self._clock() - _AT_S) % _EVERY_S)
                self.line()
        finally:
            self.line()

    def line(self) -> None:
        """Writes one document."""
        made, self._totals = document(
            self._registry.collect(),
            self._totals,
            self._dimensions,
            self._properties,
            int(self._clock() * 1000),
        )
        self._write(json.dumps(made, separators=(",", ":")) + "\n")
        sys.stdout.flush()
