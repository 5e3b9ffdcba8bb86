"""Lessons that are announced: how many learners will be there, and who of them stays away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FIRST_GUESS_ABSENT = 0.15
"""Share of a class that stays away, of a tenant and hour that nothing is known of."""
_GUESS_WEIGHS = 20.0
"""Learners' worth of belief in the first guess."""
FADES = 0.98
"""Of what was learnt, what counts still after another class."""


@dataclass(frozen=True)
class PlannedClass:
    """One announced class in one region; times in Unix seconds."""

    tenant: str
    class_id: str
    start_s: float
    duration_s: float
    expected: float
    """Learners announced for this region."""
    known_s: float = 0.0
    """When it was announced."""
    hold: int = 0
    """Slots kept for it before anyone else."""
    hold_s: float = 0.0
    """For how long from its start."""

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Attendance:
    """What is known of one tenant's classes in one hour of the day: faded sums of learners."""

    announced: float = 0.0
    came: float = 0.0

    def absent(self) -> float:
        """Expected share that stays away, 0..1; a class of guests beyond the list counts as all."""
        missing = self.announced - self.came + _GUESS_WEIGHS * FIRST_GUESS_ABSENT
        return min(1.0, max(0.0, missing / (self.announced + _GUESS_WEIGHS)))

    def learn(self, announced: float, came: float) -> Attendance:
        """With one more class, that is over or as good as."""
        return Attendance(self.announced * FADES + announced, self.came * FADES + came)


def hour_of(start_s: float) -> int:
    """The hour of the day, UTC, that a class's attendance is learnt under."""
    return int(start_s // 3600) % 24


@dataclass(frozen=True)
class Attendances:
    """Of all tenants and hours."""

    known: Mapping[tuple[str, int], Attendance] = field(default_factory=dict)

    def expected(self, planned: PlannedClass) -> float:
        """Learners that will come."""
        key = planned.tenant, hour_of(planned.start_s)
        return planned.expected * (1.0 - self.known.get(key, Attendance()).absent())
