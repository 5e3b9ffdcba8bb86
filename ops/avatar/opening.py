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
_RED = 156  # of Lab's a: lips, tongue and the mouth's inside are above it, skin is below
_HALF_WIDTH_PX = 14
_SPECK_PX = 60
_CLOSED_PX, _OPEN_PX = 17.0, 43.0
"""Height of the lips in the mouth's middle, closed and wide open."""
_SHIFTS_S = (1.0, 2.0, 3.0)
_FPS = 25


def measured_opening(picture: Image) -> float:
    """How far the lips' edges stand apart in the mouth's middle: 0 closed .. 1 wide open.

    Everything red, dark or tooth-white is the mouth, but specks and what the region cuts, as hair
    and nostrils; its middle is found in each picture, so the head may move. The height counts, not
    the area: a round mouth is narrow.
    """
    x, y, w, h = REGION
    part = picture[y : y + h, x : x + w]
    hsv = cv2.cvtColor(part, cv2.COLOR_BGR2HSV)
    inside = (hsv[..., 2] < 105) | ((hsv[..., 1] < 52) & (hsv[..., 2] > 190))
    red = cv2.cvtColor(part, cv2.COLOR_BGR2LAB)[..., 1] > _RED
    _, labels, stats, centres = cv2.connectedComponentsWithStats((inside | red).astype(np.uint8))
    left, top, wide, high, area = stats.T
    within = (left > 0) & (top > 0) & (left + wide < w) & (top + high < h)
    area = np.where(within, area, 0)
    if not area.any():
        return 0.0
    middle = round(float(centres[area.argmax()][0]))
    whole = (area >= _SPECK_PX)[labels]
    mouth = whole[:, max(0, middle - _HALF_WIDTH_PX) : middle + _HALF_WIDTH_PX + 1]
    if not mouth.any():
        return 0.0
    columns = mouth[:, mouth.any(axis=0)]
    heights = h - columns[::-1].argmax(axis=0) - columns.argmax(axis=0)
    return float(np.clip((heights.mean() - _CLOSED_PX) / (_OPEN_PX - _CLOSED_PX), 0.0, 1.0))


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
