"""A circuit breaker: who failed again and again is left alone for a while."""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3
OPEN_S = 10.0
JITTER_S = 3.0
"""Added by chance, so that a fleet of processes does not try a peer that comes back all at once."""


@dataclass(frozen=True)
class Breaker:
    """``failures`` in a row; closed until there are three. Times are any one clock's seconds."""

    failures: int = 0
    opened_until_s: float = float("-inf")

    def allows(self, now_s: float) -> bool:
        """Whether to try. After the pause one failure opens it again, one success closes it."""
        return now_s >= self.opened_until_s

    def failed(self, now_s: float, chance: float) -> Breaker:
        """After a failure; ``chance`` in 0..1 spreads the pause over 10 to 13 s."""
        failures = self.failures + 1
        if failures < FAILURES:
            return Breaker(failures)
        return Breaker(failures, now_s + OPEN_S + chance * JITTER_S)

    def succeeded(self) -> Breaker:
        """After an answer."""
        return Breaker()
