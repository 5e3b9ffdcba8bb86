"""An avatar made smaller, so that streaming it so costs a frame nothing more."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar

_LEAST_BOX_PX = 32
"""A smaller mouth would be all seam."""


def scaled(avatar: Avatar, longest_px: int) -> Avatar:
    """The avatar with pictures of at most ``longest_px`` a side; itself where it is no larger.

    The generator goes on seeing the full picture: just what lies under the new boxes, which are
    even again. So the mouth fits the face to less than a pixel, in every frame.
    """
    width, height = avatar.size
    share = max(longest_px / max(width, height), _LEAST_BOX_PX / int(avatar.boxes[:, 2:].min()))
    if share >= 1.0:
        return avatar
    size = (_even(width * share), _even(height * share))
    frames = np.stack(
        [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in avatar.frames]
    ).astype(np.uint8, copy=False)
    shares = np.array([size[0] / width, size[1] / height])
    place = _evens(avatar.boxes[:, :2] * shares)
    sides = np.minimum(_evens(avatar.boxes[:, 2:] * shares), np.array(size) - place)
    boxes = np.hstack([place, sides]).astype(np.int32)
    seen = boxes / np.tile(shares, 2)
    crops = np.stack([_seen(avatar, frame, box) for frame, box in enumerate(seen)])
    return replace(avatar, size=size, frames=frames, boxes=boxes, crops=crops)


def _even(length_px: float) -> int:
    return 2 * int(length_px / 2 + 1e-6)


def _evens(px: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return 2 * np.rint(px / 2).astype(np.int64)


def _seen(avatar: Avatar, frame: int, box: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """As ``cut``, of a box x, y, w, h that begins and ends between pixels."""
    x, y, w, h = box
    border, side = avatar.border, avatar.crop + 2 * avatar.border
    across, down = w / side, h / side
    # where the middle of the crop's first pixel lies in the frame
    first_x, first_y = x + (border + 0.5) * across - 0.5, y + (border + 0.5) * down - 0.5
    inverse = np.array([[across, 0.0, first_x], [0.0, down, first_y]])
    return np.asarray(
        cv2.warpAffine(
            avatar.frames[frame],
            inverse,
            (avatar.crop, avatar.crop),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )
