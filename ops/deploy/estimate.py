"""What the wanted cells cost a month, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass

from ops.deploy.cell_template import LIVEKIT, STORES, NoBounds, bounds_of
from ops.deploy.cost import Line, NoPrice, Shape, Usage, gpu_range, monthly, read_prices
from ops.deploy.parameters import read_template
from ops.deploy.settings import Wanted


@dataclass(frozen=True)
class Estimate:
    """By region; ``ranges`` are GPU nodes between the region's bounds."""

    lines: dict[str, list[Line]]
    ranges: dict[str, tuple[float, float]]
    notes: tuple[str, ...]


def estimate(wanted: Wanted) -> Estimate:
    """Regions without prices are left out, and said so."""
    prices, usage = read_prices(), Usage()
    lines: dict[str, list[Line]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    notes = list(prices.notes)
    shape = shape_of(wanted)
    for region in wanted.regions:
        home = region == wanted.home
        try:
            bounds = bounds_of(region, wanted.extra_of(region))
            found = monthly(region, bounds, shape, home=home, prices=prices, usage=usage)
            ranges[region] = gpu_range(region, bounds, prices)
            lines[region] = found
        except (NoPrice, NoBounds) as error:
            notes.append(f"{region} is left out: {error}")
    notes.append(f"Nodes as a region starts, all on demand. Assumed: {usage.told()}.")
    return Estimate(lines, ranges, tuple(notes))


def shape_of(wanted: Wanted) -> Shape:
    """What the cells' templates make at the wanted size."""
    size = wanted.size or "full"
    full = size == "full"
    nodes = read_template(STORES)["Mappings"]["Nodes"][size]
    own = wanted.livekit is not None and wanted.livekit.own
    servers = read_template(LIVEKIT)["Mappings"]["Sizes"][size]["Nodes"] if own else 0
    return Shape(
        gateways=3 if full else 1,
        valkey=nodes["Store"],
        valkey_nodes=3 if full else 1,
        postgres=nodes["Records"],
        postgres_copies=2 if full else 1,
        postgres_gb=int(nodes["RecordsGiB"]),
        livekit_nodes=int(servers),
    )
