"""One region of a simulated fleet: its pools zone by zone, its nodes, and who waits."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from control.domain.fleet.catalogue import PUBLISHED
from control.domain.fleet.state import Bounds, Node, Offer, Pool
from ops.simulate.fleet.weeks import HOUR_S, Stretch


class ZoneOfPool:
    """One pool in one zone: its price and whether it has capacity, at any time."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        ordered = sorted(stretches, key=lambda one: one.start_s)
        self.starts = [one.start_s for one in ordered]
        self.ends = [one.end_s for one in ordered]
        self.prices = [one.price_usd_h for one in ordered]
        self.there = [one.available for one in ordered]
        self.paid = [0.0]
        for one in ordered:
            self.paid.append(self.paid[-1] + (one.end_s - one.start_s) * one.price_usd_h / HOUR_S)
        self.gone_at = [
            one.start_s
            for before, one in pairwise(ordered)
            if before.available and not one.available
        ]

    def at(self, now_s: float) -> int:
        return max(0, bisect_right(self.starts, now_s) - 1)

    def usd_until(self, now_s: float) -> float:
        """Of a node that ran since the beginning."""
        i = self.at(now_s)
        return self.paid[i] + (min(now_s, self.ends[i]) - self.starts[i]) * self.prices[i] / HOUR_S


class SimNode:
    """One node; ``lessons`` are those on it, by their serial."""

    __slots__ = (
        "lessons",
        "name",
        "order",
        "pool",
        "ready_s",
        "since_s",
        "slots",
        "state",
        "zone",
    )  # fmt: skip

    def __init__(
        self, name: str, pool: Pool, zone: str, slots: int, since_s: float, ready_s: float
    ):
        self.name, self.pool, self.zone, self.slots = name, pool, zone, slots
        self.since_s, self.ready_s = since_s, ready_s
        self.state = "booting"
        self.order = -2.0 if pool.spot else 0.0
        self.lessons: set[int] = set()


@dataclass
class Region:
    """What a scaler sees and changes."""

    name: str
    bounds: Bounds
    zones: Mapping[Pool, Mapping[str, ZoneOfPool]]
    peers: tuple[str, ...] = ()
    nodes: dict[str, SimNode] = field(default_factory=dict)
    banned: dict[str, float] = field(default_factory=dict)
    queue: deque[int] = field(default_factory=deque)
    live: int = 0
    here: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Class → its lessons that live in this region."""
    began: int = 0

    def offers(self, now_s: float) -> tuple[Offer, ...]:
        """At the cheapest zone's price; whether it has capacity only a launch tells."""
        return tuple(
            Offer(
                pool,
                PUBLISHED[pool.type].slots,
                min(zone.prices[zone.at(now_s)] for zone in zones.values()),
                PUBLISHED[pool.type].boot_s,
                self.bounds.most,
            )
            for pool, zones in self.zones.items()
        )

    def seen(self, now_s: float) -> tuple[Node, ...]:
        """As the planner has them."""
        return tuple(
            Node(
                one.name,
                one.pool,
                one.state,  # type: ignore[arg-type]
                one.slots,
                len(one.lessons),
                one.since_s,
                (zone := self.zones[one.pool][one.zone]).prices[zone.at(now_s)],
            )
            for one in self.nodes.values()
        )
