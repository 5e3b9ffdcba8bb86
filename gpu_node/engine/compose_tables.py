"""What composing a frame needs that no speech changes, one row a length of box side or a frame.

Boxes differ in size from frame to frame; a batch is composed as if all had the largest. What lies
beyond a box's end repeats its last pair of pixels, so that writing it again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import seam_ramps

_SHARPNESS = -0.75  # of OpenCV's cubic
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Tables:
    """Of ``lengths`` different box sides, the longest ``longest`` px (even).

    at (lengths, longest): which pixel of the box stands there.
    taps, weights (lengths, longest, 4): mouth pixels that make it, and their shares.
    across, down (lengths, longest): px inside the mask's edge, 0..SEAM_PX.
    boxes (frames, 4): x, y, and the rows of w and h in the tables above.
    under (frames, longest, longest, 3): the background in the box, BGR.
    plain: every box is the crop itself, nothing is resized.
    """

    longest: int
    at: Ints
    taps: Ints
    weights: Floats
    across: Ints
    down: Ints
    boxes: Ints
    under: npt.NDArray[np.uint8]
    plain: bool


def tables(avatar: Avatar) -> Tables:
    """All tables of an avatar."""
    lengths = sorted({int(length) for length in avatar.boxes[:, 2:].ravel()})
    longest, crop, border = max(lengths), avatar.crop, avatar.border
    at = np.stack([_repeated(length, longest) for length in lengths])
    cubics = [cubic(crop, border, length) for length in lengths]
    ramps = [seam_ramps(crop, border, length, length) for length in lengths]
    row = {length: index for index, length in enumerate(lengths)}
    boxes = np.array([(x, y, row[w], row[h]) for x, y, w, h in avatar.boxes.tolist()], np.int32)
    under = np.empty((len(boxes), longest, longest, 3), np.uint8)
    for frame, (x, y, w, h) in enumerate(boxes.tolist()):
        under[frame] = avatar.frames[frame][y + at[h]][:, x + at[w]]
    return Tables(
        longest,
        at,
        np.stack([taps[where] for (taps, _), where in zip(cubics, at, strict=True)]),
        np.stack([shares[where] for (_, shares), where in zip(cubics, at, strict=True)]),
        np.stack([across[where] for (across, _), where in zip(ramps, at, strict=True)]).astype(
            np.int32
        ),
        np.stack([down[where] for (_, down), where in zip(ramps, at, strict=True)]).astype(
            np.int32
        ),
        boxes,
        under,
        border == 0 and lengths == [crop],
    )


def cubic(crop: int, border: int, length: int) -> tuple[Ints, Floats]:
    """Pixels of the mouth (length, 4) and their shares, as cv2.resize with INTER_CUBIC takes them
    after the mouth's edge was repeated ``border`` times."""
    side = crop + 2 * border
    place = ((np.arange(length) + 0.5) * (side / length) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    t = place - first
    shares = np.stack([_spline(t + 1), _spline(t), _spline(1 - t)], axis=1)
    shares = np.concatenate([shares, 1 - shares.sum(axis=1, keepdims=True)], axis=1)
    taps = first[:, None] + np.arange(-1, 3)
    return (taps - border).clip(0, crop - 1).astype(np.int32), shares.astype(np.float32)


def _spline(x: Floats) -> Floats:
    """Keys' cubic at distance x, 0..2."""
    a = np.float32(_SHARPNESS)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, far).astype(np.float32)


def _repeated(length: int, longest: int) -> Ints:
    at = np.arange(longest)
    return np.where(at < length, at, length - 2 + at % 2).astype(np.int32)
