"""What came of a simulated week, in the figures that are judged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

PATIENCE_S = 30.0
"""Who is not served by then is turned away."""


@dataclass
class Tally:
    """What came of it, of lessons that began and hours that lie within the judged time."""

    sessions: int = 0
    rejected: int = 0
    lost: int = 0
    """Interrupted, and not placed anew in time."""
    interrupted: int = 0
    cut_by_scale_in: int = 0
    elsewhere: int = 0
    """Served by another region."""
    usd: float = 0.0
    usd_spot: float = 0.0
    live_h: float = 0.0
    slot_h: float = 0.0
    launches: int = 0
    failed_launches: int = 0
    notices: int = 0
    waits_s: list[float] = field(default_factory=list)
    """Of those served; who did not wait is 0."""
    series: dict[str, list[tuple[float, ...]]] = field(default_factory=lambda: defaultdict(list))
    """Region → (now, live, queued, slots on demand, slots of spot, closed slots, $ an hour)."""

    def all_waits_s(self) -> list[float]:
        """Of all that asked: who was turned away waited all of his patience."""
        return [*self.waits_s, *([PATIENCE_S] * self.rejected)]

    def wait_p999_s(self) -> float:
        """0 where nobody asked."""
        waits = sorted(self.all_waits_s())
        return waits[min(len(waits) - 1, int(0.999 * len(waits)))] if waits else 0.0
