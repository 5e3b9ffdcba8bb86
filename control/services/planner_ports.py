"""What the fleet's planner needs of the store: demand, an order among workers, held slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Ordered:
    """``leases`` by worker, of those that are known: of a closed one they are sessions, and can
    only get fewer. ``handed`` as in Placed, to be driven."""

    leases: Mapping[str, int]
    handed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """``count``: slots that are held for the class now; ``handed`` as in Placed, to be driven."""

    count: int
    handed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObservedClass:
    """A class that was heard of within a day."""

    tenant: str
    class_id: str
    came: int
    """Sessions of it that there ever were."""
    open: int
    held: int


@dataclass(frozen=True)
class ObservedWorker:
    """A worker as the store knows it."""

    worker_id: str
    state: Literal["warming", "ready", "draining"]
    """As it said itself."""
    drained: bool
    """It was told to drain."""
    order: float | None
    """None: closed."""
    slots: int
    used: int
    """Leases, held ones among them."""
    held: int
    alive: bool
    heard_ms_ago: int | None
    """None: it was declared dead, and has not spoken since."""
    registration: int
    """The store's clock in ms when this life of it registered, or a little more."""
    region: str
    zone: str
    instance_type: str | None
    market: Literal["on-demand", "spot"] | None


@dataclass(frozen=True)
class Observed:
    """A cell at one moment of the store's clock."""

    now_ms: int
    live: int
    """Sessions with a lease."""
    queued: int
    held: int
    classes: tuple[ObservedClass, ...]
    workers: tuple[ObservedWorker, ...]
    """By name."""


class PlannerStore(Protocol):
    """The store's part; docs/store.md, Order and held slots. Raises StoreAway."""

    def order(self, values: Mapping[str, float | None]) -> Ordered:
        """What is added to each worker's score; None closes it. Raises ValueError for no number."""

    def hold(self, tenant: str, class_id: str, n: int, until_s: float) -> Held:
        """Keeps ``n`` slots in all for the class, those that its open sessions have among them.

        Asked again it takes what is missing and gives back what is too much. ``until_s`` is Unix
        time; more than a day ahead counts as a day.
        """

    def unhold(self, tenant: str, class_id: str) -> Held: ...
    def observe(self) -> Observed: ...
