"""How many lessons there are at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ops.simulate.fleet.weeks import Lesson

SAMPLE_S = 30.0


def at_once(lessons: Iterable[Lesson], begin_s: float, end_s: float) -> NDArray[np.int64]:
    """A number each half minute of that time; a lesson counts in each that it touches."""
    count = int((end_s - begin_s) / SAMPLE_S)
    change = np.zeros(count + 1, dtype=np.int64)
    for one in lessons:
        first = int((one.start_s - begin_s) // SAMPLE_S)
        last = int((one.start_s + one.duration_s - begin_s) // SAMPLE_S) + 1
        if last > 0 and first < count:
            change[max(0, first)] += 1
            change[min(count, last)] -= 1
    return np.cumsum(change)[:count]
