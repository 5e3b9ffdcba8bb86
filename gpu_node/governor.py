"""Announced slots follow what the worker really holds: down when frames are late, back when not."""

from __future__ import annotations

LATE_MS, CALM_MS = 40.0, 20.0
LATE_FOR_S, CALM_FOR_S = 15.0, 30.0
WINDOW_S = 10
"""Of the frames that are looked at."""


class Governor:
    """Between ``CALM_MS`` and ``LATE_MS`` nothing changes, so that the slots do not swing.

    Never cuts: slots below what runs mean that nobody else comes.
    """

    def __init__(self, rated: int) -> None:
        self.rated = rated
        self.slots = rated
        self._late_since: float | None = None
        self._calm_since: float | None = None

    def look(self, now_s: float, running: int, late_p99_ms: float) -> int:
        """The slots to announce; ``late_p99_ms`` is of the last ``WINDOW_S``, 0 without frames."""
        self._late_since = _since(self._late_since, now_s, late_p99_ms > LATE_MS)
        self._calm_since = _since(self._calm_since, now_s, late_p99_ms < CALM_MS)
        if self._late_since is not None and now_s - self._late_since >= LATE_FOR_S:
            self.slots = min(self.slots, max(1, running - 1))
            self._late_since = now_s
        elif self._calm_since is not None and now_s - self._calm_since >= CALM_FOR_S:
            self.slots = min(self.rated, self.slots + 1)
            self._calm_since = now_s
        return self.slots


def _since(before: float | None, now_s: float, holds: bool) -> float | None:
    if not holds:
        return None
    return now_s if before is None else before
