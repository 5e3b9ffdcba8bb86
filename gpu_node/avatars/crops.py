"""The six-channel picture the generator sees, and the black rectangle over the mouth."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_AUDIO_GRID = 16
Image = npt.NDArray[np.uint8]

# The published mask is x 5..314, y 5..309 of the 320 px inner crop.
_MASK = (5 / 320, 5 / 320, 314 / 320, 309 / 320)


def mask_rectangle(crop: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 (exclusive) of the black rectangle, scaled to a crop of `crop` px."""
    x0, y0, x1, y1 = (round(share * crop) for share in _MASK)
    return x0, y0, x1, y1


def cut(frame: Image, box: tuple[int, int, int, int], crop: int, border: int = 0) -> Image:
    """What the generator sees of a frame: uint8 (crop, crop, 3) BGR.

    The box x, y, w, h is resized to crop + 2 border, whose middle it is (SyncTalk 2D: 328 and 4).
    """
    x, y, w, h = box
    part, side = frame[y : y + h, x : x + w], crop + 2 * border
    if (w, h) != (side, side):
        part = np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.ascontiguousarray(part[border : border + crop, border : border + crop])


def image_input(reference: Image, current: Image | None = None) -> npt.NDArray[np.float32]:
    """Reference and masked current crop: float32 (6, crop, crop) in 0..1, BGR.

    At inference both are the same frame, so `current` may be left out.
    """
    masked = (reference if current is None else current).copy()
    x0, y0, x1, y1 = mask_rectangle(len(masked))
    masked[y0:y1, x0:x1] = 0
    both = np.concatenate([reference, masked], axis=2).transpose(2, 0, 1)
    return np.ascontiguousarray(both, dtype=np.float32) / np.float32(255.0)


def audio_stride(grid: int) -> tuple[int, int]:
    """Stride and padding that take the 16² audio grid to `grid`² with a 3x3 kernel.

    Raises ValueError where none does.
    """
    for stride in range(2, 7):
        for padding in range(4):
            if (_AUDIO_GRID + 2 * padding - 3) // stride + 1 == grid:
                return stride, padding
    raise ValueError(
        f"crop: an audio grid of {grid} cannot be made; use a multiple of 32 from 96 to 320"
    )
