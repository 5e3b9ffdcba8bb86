"""What the store keeps of demand: its past by bins, what was foreseen, the profile learnt of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Bin:
    """Five minutes: the greatest numbers of sessions in them, those that wait among them."""

    live: float
    other: float
    """Of no announced class."""


class DemandStore(Protocol):
    """docs/store.md, Demand. Bins are control/domain/fleet/forecast.py's. Raises StoreAway."""

    def note_demand(self, number: int, seen: Bin, forget_before: int) -> None:
        """The greater of what was noted and this, each by itself."""

    def demand(self, first: int, last: int) -> Mapping[int, Bin]:
        """Bins that are known, both ends included."""

    def foresee(self, number: int, live: float) -> None:
        """What is expected of a bin to come; the first word stands."""

    def foreseen(self, first: int, last: int) -> Mapping[int, float]: ...

    def archived(self) -> int | None:
        """The last bin that the records' queue took."""

    def put_archived(self, number: int) -> None: ...

    def profile(self) -> Mapping[str, Any] | None:
        """As it was put."""

    def put_profile(self, profile: Mapping[str, Any]) -> None: ...
