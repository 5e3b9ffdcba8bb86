"""What it takes to act on a plan: groups, prices, and what the store keeps of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from control.domain.fleet.state import Bounds, Pool

Shortage = Literal["capacity", "quota", "spot-quota", "other"]
"""Why a launch failed. capacity: the zones have none. quota: the account's vCPUs are used up.
spot-quota: the account's spot vCPUs are. other: its words say; launching again would not help."""


@dataclass(frozen=True)
class Instance:
    """A node as its group knows it."""

    node_id: str
    zone: str
    state: str
    """Auto Scaling's lifecycle state, as in ``Pending:Wait``."""
    healthy: bool = True
    launched_s: float | None = None
    """None: EC2 does not tell yet."""

    @property
    def leaving(self) -> bool:
        """Not counted in its group's desired capacity any more."""
        return self.state.startswith(("Terminating", "Detach", "Standby", "EnteringStandby"))


@dataclass(frozen=True)
class Group:
    """A pool's Auto Scaling group."""

    pool: Pool
    name: str
    least: int
    most: int
    desired: int
    instances: tuple[Instance, ...] = ()

    @property
    def there(self) -> int:
        """Instances that count towards the desired capacity."""
        return sum(not one.leaving for one in self.instances)

    @property
    def missing(self) -> int:
        """Nodes that are wanted and have no instance yet."""
        return max(0, self.desired - self.there)


@dataclass(frozen=True)
class LaunchFailure:
    """A launch that a group tried in vain."""

    pool: str
    zone: str | None
    kind: Shortage
    at_s: float
    text: str


class Groups(Protocol):
    """The cell's pools. Raises GroupsAway where AWS does not answer or refuses the call."""

    def pools(self) -> tuple[Group, ...]:
        """Every group of this cell's, its instances with it."""

    def grow(self, pool: str, desired: int) -> int:
        """Wants that many nodes, its maximum at most; the desired capacity in force.

        It never lowers: where somebody wants more already that stands, and is answered.
        """

    def settle(self, pool: str) -> int:
        """Wants no more nodes than are there (its minimum at least); how many were taken off.

        No node goes by this: those in service are protected.
        """

    def terminate(self, node_id: str, *, shrink: bool) -> bool:
        """Ends a node, by way of its terminating hook; with ``shrink`` nothing replaces it.

        False where it is gone already, or the group is at its minimum.
        """

    def failures(self, groups: Sequence[Group], since_s: float) -> tuple[LaunchFailure, ...]:
        """Launches that failed since then, oldest first."""

    def pool_of(self, node_id: str) -> str | None:
        """None of a node of no pool of this cell."""


@dataclass(frozen=True)
class PriceList:
    """Dollars an hour, as somebody told them at one moment."""

    on_demand: Mapping[str, float]
    """By type."""
    spot: Mapping[str, Mapping[str, float]]
    """By type and zone."""
    at_s: float = 0.0


class Prices(Protocol):
    """What AWS asks for today. Raises PricesAway."""

    def now(self, types: Sequence[str]) -> PriceList: ...


@dataclass(frozen=True)
class Scaling:
    """What a cell with pools plans with and acts through."""

    pools: Groups
    prices: Prices
    published: PriceList
    """Gone by where AWS tells no price that can be believed."""
    bounds: Bounds
    """Nodes of all pools together."""
    boot_limit_s: float
    """A node that announces no slots by then is given up, as its launching hook does."""
    policy: Mapping[str, float] = field(default_factory=dict)
    """The planner's settings that are to be other than its own, by name."""


class GroupsAway(Exception):
    """Auto Scaling or EC2 does not answer, or refused; the message has its words."""


class PricesAway(Exception):
    """No price was told; the message says why."""


@dataclass(frozen=True)
class Ban:
    """A pool that nothing is launched from until then, and why."""

    until_s: float
    reason: str


@dataclass(frozen=True)
class Asked:
    """Slots that somebody asked for by hand or by the calendar; they count until then."""

    slots: int
    until_s: float
    reason: str


@dataclass(frozen=True)
class Order:
    """What an execution of regional_scale_out is to do, so that doing it twice is once.

    A launch is the desired capacity that it leads to, never "n more".
    """

    launch: Mapping[str, int] = field(default_factory=dict)
    release: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    at_s: float = 0.0

    @property
    def empty(self) -> bool:
        return not (self.launch or self.release or self.replace)

    def text(self) -> dict[str, Any]:
        """As JSON has it, for an execution's state."""
        return {
            "launch": dict(self.launch),
            "release": list(self.release),
            "replace": list(self.replace),
            "at_s": self.at_s,
        }

    @staticmethod
    def read(text: Mapping[str, Any]) -> Order:
        """What ``text`` gave."""
        return Order(
            {str(pool): int(desired) for pool, desired in text["launch"].items()},
            tuple(text["release"]),
            tuple(text["replace"]),
            float(text["at_s"]),
        )


class ScalingStore(Protocol):
    """The store's part: bans, what was asked for, the plan in flight. Raises StoreAway."""

    def retire(self, worker_id: str) -> bool:
        """Drains a worker that is closed and empty, in one step: no lease comes in between.

        True as well where it was drained or is not known; False while it is open or has a lease.
        """

    def bans(self) -> dict[str, Ban]: ...

    def ban(self, pool: str, until_s: float, reason: str) -> bool:
        """False where it was banned for as long already."""

    def asked(self) -> Asked | None: ...
    def ask(self, asked: Asked) -> None: ...

    def begin_flight(self, execution: str, ttl_s: float) -> str:
        """The execution whose plan is in flight: this one, unless another holds the place."""

    def end_flight(self, execution: str) -> bool:
        """Frees the place, if it is that execution's."""

    def flight(self) -> str | None: ...

    def hand_over(self, order: Order) -> None:
        """For the execution in flight to take over; the newest stands, for two minutes."""

    def take_over(self) -> Order | None:
        """What was handed over, once."""

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """The last 200 stay."""

    def plans(self, most: int, skip: int = 0) -> list[dict[str, Any]]:
        """Newest first, after the newest ``skip``."""

    def keep_report(self, report: Mapping[str, Any]) -> None:
        """What an execution did; the last 100 stay."""

    def reports(self, most: int) -> list[dict[str, Any]]:
        """Newest first."""

    def replacement(self, pool: str, node_id: str, now_s: float, within_s: float) -> int:
        """Counts a node that is to be replaced, once; how many of the pool were, in that time."""

    def silent(self, nodes: Sequence[str], now_s: float) -> dict[str, float]:
        """Since when each of these announces nothing; others are forgotten."""

    def measured(self) -> dict[str, int]:
        """Slots by type, as its ready workers told last."""

    def put_measured(self, slots: Mapping[str, int]) -> None: ...
    def price_list(self) -> PriceList | None: ...
    def put_price_list(self, prices: PriceList) -> None: ...
