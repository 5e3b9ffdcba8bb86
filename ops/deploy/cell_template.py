"""What a deployment has to know of ``template.yaml``: its bounds, what it reserves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ops.cell.files import ROOT
from ops.cell.intrinsics import NO_VALUE, Resolver, pseudo_parameters
from ops.deploy.limits import Bounds
from ops.deploy.parameters import read_template

CELL = ROOT / "template.yaml"
ARTIFACTS = ROOT / "infra" / "artifacts.yaml"
STORES = ROOT / "infra" / "stores.yaml"
LIVEKIT = ROOT / "infra" / "livekit.yaml"
EDGE = ROOT / "infra" / "edge.yaml"


class NoBounds(ValueError):
    """The template has no figures for that region."""


def bounds_of(region: str, given: Mapping[str, str | None], template: Path = CELL) -> Bounds:
    """The region's nodes as the template has them, or those that were set. Raises NoBounds."""
    rows = read_template(template)["Mappings"]["Nodes"]
    if region not in rows:
        raise NoBounds(f"{region}: {template.name} has no row for it in Mappings.Nodes; add one")

    def number(parameter: str, column: str) -> int:
        text = given.get(parameter) or "0"
        # 0 leaves it to the region; what is no number is told by the parameter's own check
        return (int(text) if text.isdigit() else 0) or int(rows[region][column])

    return Bounds(
        number("MinNodes", "Min"), number("StartNodes", "Start"), number("MaxNodes", "Max")
    )


def reserved_concurrency(size: str | None, template: Path = CELL) -> int:
    """Executions that the cell's functions reserve."""
    data = read_template(template)
    names = {name: one.get("Default", "") for name, one in data["Parameters"].items()}
    resolver = Resolver(names | ({"Size": size} if size else {}) | pseudo_parameters(""), {},
                        data["Conditions"])  # fmt: skip
    total = 0
    for name, resource in data["Resources"].items():
        raw = resource.get("Properties", {}).get("ReservedConcurrentExecutions", 0)
        value = resolver.value(raw, name)
        total += 0 if value is NO_VALUE else int(value)
    return total
