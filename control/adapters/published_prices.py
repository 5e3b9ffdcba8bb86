"""Prices as they were published, a region each: what is gone by until AWS tells today's."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from control.services.scaling_ports import PriceList

GPU = Path(__file__).parent / "prices" / "gpu.csv"


@cache
def rows() -> tuple[dict[str, str], ...]:
    """The table's lines: type, region, on_demand, spot as ``az1 .5070|az2 .4591``."""
    lines = GPU.read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(line for line in lines if not line.startswith("#")))


def published(region: str) -> PriceList:
    """Zones by their ids, as in ``az1``; an unknown region has none."""
    ours = [row for row in rows() if row["region"] == region]
    return PriceList(
        on_demand={row["type"]: float(row["on_demand"]) for row in ours},
        spot={row["type"]: _zones(row["spot"]) for row in ours if row["spot"]},
    )


def _zones(text: str) -> dict[str, float]:
    pairs = (zone.split() for zone in text.split("|"))
    return {zone: float(usd) for zone, usd in pairs}
