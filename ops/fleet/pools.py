"""What a cell's pools have, from their groups and the cell's workers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from control.domain.fleet.state import NodeState


@dataclass
class PoolRow:
    """One pool; ``nodes`` counts by state."""

    name: str
    wanted: int
    nodes: dict[NodeState, int] = field(default_factory=dict)
    slots: int = 0
    used: int = 0

    def count(self, state: NodeState) -> int:
        """Of its nodes."""
        return self.nodes.get(state, 0)


def pool_rows(
    groups: Iterable[Mapping[str, Any]], workers: Iterable[Mapping[str, Any]]
) -> list[PoolRow]:
    """From DescribeAutoScalingGroups and GET /api/v1/workers; groups of no pool are left out."""
    known = {one["worker_id"]: one for one in workers if one["alive"]}
    rows = []
    for group in groups:
        tags = {one["Key"]: one["Value"] for one in group.get("Tags", ())}
        if "rapido:pool" not in tags:
            continue
        row = PoolRow(tags["rapido:pool"], group["DesiredCapacity"])
        for instance in group["Instances"]:
            worker = known.get(instance["InstanceId"])
            state = node_state(instance["LifecycleState"], worker)
            row.nodes[state] = row.count(state) + 1
            if worker is not None:
                row.slots += worker["slots"]
                row.used += worker["used"]
        rows.append(row)
    return rows


def is_empty(row: PoolRow) -> bool:
    """It has nothing and wants nothing."""
    return not row.wanted and not row.nodes


def node_state(lifecycle: str, worker: Mapping[str, Any] | None) -> NodeState:
    """Of an instance, by its group's word and its worker's; None: no worker lives on it."""
    if lifecycle.startswith("Terminating") or (worker and worker["state"] == "draining"):
        return "leaving"
    if worker is None or worker["state"] != "ready":
        return "booting"
    return "closed" if worker["order"] is None else "ready"


def pool_table(rows: Iterable[PoolRow], title: str = "") -> Table:
    """Pools that have or want nothing show dashes only."""
    table = Table(title=title, title_justify="left")
    table.add_column("pool", no_wrap=True)
    for head in ("wanted", "booting", "ready", "closed", "leaving", "slots", "used"):
        table.add_column(head, justify="right")
    for row in rows:
        counts = (row.wanted, *(row.count(s) for s in ("booting", "ready", "closed", "leaving")))
        numbers = (*counts, row.slots, row.used)
        table.add_row(row.name, *(str(one) if one else "-" for one in numbers))
    return table


def pool_line(row: PoolRow) -> str:
    """As one line, for a log."""
    states = ", ".join(f"{n} {state}" for state, n in row.nodes.items())
    used = f"slots {row.used} of {row.slots} used"
    return f"{row.name}: {row.wanted} wanted; {states or 'no nodes'}; {used}"


def plan_line(kept: Mapping[str, Any]) -> str:
    """Of a plan that was kept: what it says of itself, in one line."""
    return "plan: " + " ".join(kept["plan"]["why"]["said"])
