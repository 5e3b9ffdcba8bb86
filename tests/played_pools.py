"""The fleet's groups, prices and workflows in memory, held to the real ones by
tests/contract/test_fleet_groups.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from control.domain.fleet.catalogue import pool
from control.services.scaling_ports import (
    Group,
    GroupsAway,
    Instance,
    LaunchFailure,
    PriceList,
    PricesAway,
    Shortage,
)


class PlayedPools:
    """See the port Groups; what a group wants comes with ``launch``, as on AWS in its time."""

    def __init__(self, cell: str, now_s: Callable[[], float]) -> None:
        self.groups: dict[str, Group] = {}
        self.failed: list[LaunchFailure] = []
        self.short: dict[str, Shortage] = {}
        """Pools that launch nothing, and why."""
        self.away = False
        self.called: list[tuple[Any, ...]] = []
        """Every change that was asked for."""
        self._cell = cell
        self._now_s = now_s
        self._numbers = itertools.count(1)

    def make(self, name: str, least: int = 0, most: int = 10, desired: int = 0) -> None:
        self.groups[name] = Group(pool(name), f"rapido-{self._cell}-{name}", least, most, desired)
        self.launch()

    def set(self, name: str, desired: int) -> None:
        """By hand."""
        self.groups[name] = replace(self.groups[name], desired=desired)

    def launch(self) -> list[str]:
        """What is missing, in service at once, or a failure of the pool; the new nodes."""
        new = []
        for name, group in self.groups.items():
            if group.missing and name in self.short:
                text = f"no {name}: {self.short[name]}"
                self.failed.append(
                    LaunchFailure(name, "us-east-1a", self.short[name], self._now_s(), text)
                )
                continue
            for _ in range(group.missing):
                node = f"i-{next(self._numbers):017x}"
                one = Instance(node, "us-east-1a", "InService", launched_s=self._now_s())
                group = replace(group, instances=(*group.instances, one))
                new.append(node)
            self.groups[name] = group
        return new

    def change(self, node_id: str, **changes: Any) -> None:
        """An instance's state or health."""
        for name, group in self.groups.items():
            changed = tuple(
                replace(one, **changes) if one.node_id == node_id else one
                for one in group.instances
            )
            self.groups[name] = replace(group, instances=changed)

    def gone(self, node_id: str) -> None:
        """Its hook was completed."""
        for name, group in self.groups.items():
            left = tuple(one for one in group.instances if one.node_id != node_id)
            self.groups[name] = replace(group, instances=left)

    def pools(self) -> tuple[Group, ...]:
        if self.away:
            raise GroupsAway("ThrottlingException: Rate exceeded")
        return tuple(self.groups.values())

    def grow(self, pool: str, desired: int) -> int:
        if pool not in self.groups:
            raise GroupsAway(f"the cell {self._cell} has no group for the pool {pool}")
        group = self.groups[pool]
        wanted = max(group.desired, min(desired, group.most))
        self.called.append(("grow", pool, wanted))
        self.set(pool, wanted)
        return wanted

    def settle(self, pool: str) -> int:
        group = self.groups[pool]
        kept = min(group.desired, max(group.least, group.there))
        self.called.append(("settle", pool, kept))
        self.set(pool, kept)
        return group.desired - kept

    def terminate(self, node_id: str, *, shrink: bool) -> bool:
        for name, group in self.groups.items():
            for one in group.instances:
                if one.node_id != node_id:
                    continue
                if shrink and group.desired <= group.least:
                    return False
                self.called.append(("terminate", node_id, shrink))
                self.set(name, group.desired - shrink)
                self.change(node_id, state="Terminating:Wait")
                return True
        return False

    def failures(self, groups: Sequence[Group], since_s: float) -> tuple[LaunchFailure, ...]:
        ours = {one.pool.name for one in groups}
        return tuple(one for one in self.failed if one.at_s >= since_s and one.pool in ours)

    def pool_of(self, node_id: str) -> str | None:
        for name, group in self.groups.items():
            if any(one.node_id == node_id for one in group.instances):
                return name
        return None


@dataclass
class PlayedPrices:
    """See the port Prices."""

    told: PriceList = field(default_factory=lambda: PriceList({}, {}))
    away: bool = False
    asked: int = 0

    def now(self, types: Sequence[str]) -> PriceList:
        self.asked += 1
        if self.away:
            raise PricesAway("the price list does not answer")
        return self.told


@dataclass
class PlayedWorkflows:
    """The part of the port Workflows that the fleet uses."""

    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def ping(self) -> None:
        """They always answer."""

    def start_scale_out(self, execution: str, given: dict[str, Any]) -> None:
        self.started.setdefault(execution, given)

    def scale_out_ended(self, execution: str) -> bool:
        return execution in self.ended or execution not in self.started

    def start_setup(self, execution: str, given: dict[str, Any]) -> None:
        self.started.setdefault(execution, given)
