"""A microphone's endless sound, cut into utterances by its level."""

from __future__ import annotations

from collections import deque

import numpy as np

from gpu_node.pcm import PLAYOUT_RATE_HZ, Samples

_OPEN_DBFS = -45.0
_HANG_S = 0.6
_PRE_ROLL_S = 0.1


class VoiceGate:
    """Open while someone speaks: from a little before the level rises to 0.6 s after it falls."""

    def __init__(self) -> None:
        self.is_open = False
        self._quiet_s = 0.0
        self._before: deque[Samples] = deque()

    def feed(self, samples: Samples) -> Samples | None:
        """What belongs to the utterance, 48 kHz mono; None where nobody speaks."""
        seconds = samples.size / PLAYOUT_RATE_HZ
        loud = _level_dbfs(samples) > _OPEN_DBFS
        if self.is_open:
            self._quiet_s = 0.0 if loud else self._quiet_s + seconds
            self.is_open = self._quiet_s < _HANG_S
            return samples
        self._before.append(samples)
        if loud:
            opening = np.concatenate(list(self._before))
            self._before.clear()
            self.is_open, self._quiet_s = True, 0.0
            return opening
        while sum(part.size for part in self._before) > _PRE_ROLL_S * PLAYOUT_RATE_HZ:
            self._before.popleft()
        return None


def _level_dbfs(samples: Samples) -> float:
    if samples.size == 0:
        return -120.0
    power = float(np.mean((samples.astype(np.float64) / 32768.0) ** 2))
    return 10.0 * float(np.log10(max(power, 1e-12)))
