"""How far the tutor's mouth is open in a picture, and how well that follows speech."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

# x, y, w, h of the 512 px picture in which the mouth stays while the head moves
REGION = (200, 282, 112, 62)
_SHIFTS_S = (1.0, 2.0, 3.0)
_FPS = 25


def measured_opening(picture: Image) -> float:
    """Share of the mouth's region that is its inside: dark, or white as teeth are; 0..1.

    Lips and skin are saturated and light, so neither counts.
    """
    x, y, w, h = REGION
    hsv = cv2.cvtColor(picture[y : y + h, x : x + w], cv2.COLOR_BGR2HSV)
    saturation, value = hsv[..., 1], hsv[..., 2]
    inside = (value < 105) | ((saturation < 52) & (value > 190))
    return float(inside.mean())


def measured_openings(pictures: Iterable[Image]) -> Array:
    """Of each 512 px BGR picture."""
    return np.array([measured_opening(picture) for picture in pictures])


def _correlation(a: Array, b: Array) -> float:
    if len(a) < 3 or a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _at_lag(measured: Array, wanted: Array, speaking: npt.NDArray[np.bool_], lag: int) -> float:
    """Correlation of measured[i + lag] with wanted[i] over the speaking frames i."""
    n = min(len(measured), len(wanted))
    index = np.arange(n)
    kept = index[speaking[:n] & (index + lag >= 0) & (index + lag < n)]
    return _correlation(measured[kept + lag], wanted[kept])


def lip_report(measured: Array, wanted: Array, speaking: npt.NDArray[np.bool_]) -> dict[str, float]:
    """``correlation`` at the best lag within ± 1 frame, and the largest at shifts of 1, 2, 3 s."""
    by_lag = {lag: _at_lag(measured, wanted, speaking, lag) for lag in (-1, 0, 1)}
    best = max(by_lag, key=lambda lag: by_lag[lag])
    shifted = [
        abs(_at_lag(measured, wanted, speaking, sign * round(s * _FPS)))
        for s in _SHIFTS_S
        for sign in (-1, 1)
    ]
    return {"correlation": by_lag[best], "lag_frames": float(best), "shifted": max(shifted)}
