"""What the planner looks at, and what it answers. Times are Unix seconds of the store's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Market = Literal["on-demand", "spot"]
NodeState = Literal["booting", "ready", "closed", "leaving"]
"""booting: launched, not announcing slots yet. closed: ready, and the planner lets no new lease on
it; reversible. leaving: an operator, spot's notice or its group wants it gone; not reversible."""


@dataclass(frozen=True)
class Pool:
    """One instance type in one market, over a region's zones: one Auto Scaling group."""

    type: str
    market: Market

    @property
    def name(self) -> str:
        """As groups, tags and bans name it: ``g5.2xlarge-spot``."""
        return f"{self.type}-{self.market}"

    @property
    def spot(self) -> bool:
        return self.market == "spot"


@dataclass(frozen=True)
class Offer:
    """What a node of a pool would cost and bring, if one were launched now."""

    pool: Pool
    slots: int
    price_usd_h: float
    """Of the zone that it would be launched in."""
    boot_s: float
    """From the launch until it announces slots."""
    most_nodes: int
    """The group's own maximum."""


@dataclass(frozen=True)
class Node:
    """One instance, as its group and the store know it together."""

    node_id: str
    pool: Pool
    state: NodeState
    slots: int
    """Announced; of a booting node those that are expected."""
    used: int
    """Leases, held ones among them."""
    since_s: float
    """When it was launched."""
    price_usd_h: float
    healthy: bool = True
    """False: its group or its worker says that it will do no work."""


@dataclass(frozen=True)
class Bounds:
    """Nodes of all pools of a region together; those that drain count."""

    least: int
    most: int


@dataclass(frozen=True)
class Outlook:
    """Sessions expected to be live, a value each ``step_s`` from now on: the first is now's.

    ``high`` is the quantile that capacity is planned for, ``mean`` what is expected.
    """

    step_s: float
    mean: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Fleet:
    """One region at one moment."""

    region: str
    now_s: float
    nodes: tuple[Node, ...]
    offers: tuple[Offer, ...]
    bounds: Bounds
    live: int
    queued: int = 0
    banned: Mapping[str, float] = field(default_factory=dict)
    """Pool that is not launched from → until when."""
    asked: int = 0
    """Slots that somebody asked for, by hand or by the calendar: there are so many at least."""
    spilled: int = 0
    """Sessions that peers will have no slot for: they come on top of the region's own."""


@dataclass(frozen=True)
class Plan:
    """What is to be done now. Nothing in it cuts a live session.

    ``order`` is a preference among workers that the store adds to their score (docs/store.md).
    """

    launch: Mapping[str, int]
    """Pool → nodes more than it has."""
    close: tuple[str, ...]
    """No new lease on these from now on."""
    reopen: tuple[str, ...]
    """Closed ones that are wanted again."""
    release: tuple[str, ...]
    """Closed and empty: their groups may terminate them, and shrink by them."""
    replace: tuple[str, ...]
    """Never registered, or sick, without a lease: terminated, their groups keep their size."""
    order: Mapping[str, float]
    why: Mapping[str, Any]
    """Everything it was decided from, in plain values: read by people, replayed by machines."""

    @property
    def changes_nodes(self) -> bool:
        """Something is to be done outside the store."""
        return bool(self.launch or self.release or self.replace)
