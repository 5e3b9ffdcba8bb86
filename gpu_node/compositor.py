"""Puts the painted mouth into the background frame, as I420."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gpu_node.avatars.crops import mask_rectangle
from gpu_node.avatars.package import Avatar

Image = npt.NDArray[np.uint8]
SEAM_PX = 10


def ping_pong(index: int, frames: int) -> int:
    """Which of ``frames`` background frames is shown at ``index``: there and back again."""
    if frames < 2:
        return 0
    step = index % (2 * frames - 2)
    return step if step < frames else 2 * frames - 2 - step


@dataclass(frozen=True)
class _Seam:
    """Where a mouth shows, in its box of one size: x0, y0, x1, y1, all even; and how much of it at
    the rim of that, 0..256: nothing at the edge, all of it within."""

    inside: tuple[int, int, int, int]
    rim: tuple[tuple[slice, slice, npt.NDArray[np.uint16]], ...]


class Compositor:
    """Backgrounds are converted once; of a speaking frame only what the mouth covers is. May be
    shared between threads."""

    def __init__(self, avatar: Avatar) -> None:
        self._avatar = avatar
        self._backgrounds: list[Image] = [
            np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420), np.uint8)
            for frame in avatar.frames
        ]
        self._seams: dict[tuple[int, int], _Seam] = {}

    def compose(self, frame: int, mouth: Image | None) -> Image:
        """uint8 (h * 3 / 2, w) I420 of background ``frame``, with ``mouth`` in its box if given.

        The array without a mouth is shared: do not write to it.
        """
        background = self._backgrounds[frame]
        if mouth is None:
            return background
        x, y, w, h = self._avatar.box(frame)
        seam = self._seam(w, h)
        x0, y0, x1, y1 = seam.inside
        painted = self._fitted(mouth, w, h)[y0:y1, x0:x1].copy()
        under = self._avatar.frames[frame][y + y0 : y + y1, x + x0 : x + x1]
        for rows, columns, share in seam.rim:
            here = painted[rows, columns]
            here[:] = (here * share + under[rows, columns] * (256 - share)) >> 8
        patch = np.asarray(cv2.cvtColor(painted, cv2.COLOR_BGR2YUV_I420), np.uint8)
        return self._paste(background.copy(), patch, (x + x0, y + y0, x1 - x0, y1 - y0))

    def _fitted(self, mouth: Image, w: int, h: int) -> Image:
        if border := self._avatar.border:
            # whatever is here: the seam shows nothing of it
            mouth = cv2.copyMakeBorder(  # type: ignore[assignment]
                mouth, border, border, border, border, cv2.BORDER_REPLICATE
            )
        if mouth.shape[:2] != (h, w):
            return np.asarray(cv2.resize(mouth, (w, h), interpolation=cv2.INTER_CUBIC), np.uint8)
        return mouth

    def _paste(self, whole: Image, patch: Image, box: tuple[int, int, int, int]) -> Image:
        x, y, w, h = box
        width, height = self._avatar.size
        whole[y : y + h, x : x + w] = patch[:h]
        chroma = whole[height:].reshape(2, height // 2, width // 2)
        small = patch[h:].reshape(2, h // 2, w // 2)
        chroma[:, y // 2 : (y + h) // 2, x // 2 : (x + w) // 2] = small
        return whole

    def _seam(self, w: int, h: int) -> _Seam:
        if (w, h) not in self._seams:
            self._seams[w, h] = _seam(self._avatar.crop, self._avatar.border, w, h)
        return self._seams[w, h]


def seam_ramps(
    crop: int, border: int, w: int, h: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """px inside the mask's edge, 0..SEAM_PX, of each column (w,) and each row (h,) of a box."""
    left, top, right, bottom = _shown(crop, border, w, h)
    xs, ys = np.arange(w), np.arange(h)
    across = np.minimum(xs - left, right - 1 - xs).clip(0, SEAM_PX)
    return across, np.minimum(ys - top, bottom - 1 - ys).clip(0, SEAM_PX)


def _shown(crop: int, border: int, w: int, h: int) -> tuple[int, int, int, int]:
    """The mask's x0, y0, x1, y1 in a box of that size."""
    side = crop + 2 * border
    left, top, right, bottom = (border + edge for edge in mask_rectangle(crop))
    return (
        round(left * w / side), round(top * h / side),
        round(right * w / side), round(bottom * h / side),
    )  # fmt: skip


def _seam(crop: int, border: int, w: int, h: int) -> _Seam:
    left, top, right, bottom = _shown(crop, border, w, h)
    # chroma is one for two by two
    x0, y0, x1, y1 = left & ~1, top & ~1, min(w, (right + 1) & ~1), min(h, (bottom + 1) & ~1)
    across, down = seam_ramps(crop, border, w, h)
    shares = np.minimum(across[None, x0:x1], down[y0:y1, None]) * 256 // SEAM_PX
    # three equal channels rather than one that is broadcast: numpy is much quicker with it
    share = np.repeat(shares.astype(np.uint16)[..., None], 3, axis=2)
    rim, (rows, columns) = SEAM_PX + 2, shares.shape
    upper, lower = slice(0, rim), slice(rows - rim, rows)
    between, all_columns = slice(rim, rows - rim), slice(0, columns)
    places = (
        (upper, all_columns),
        (lower, all_columns),
        (between, slice(0, rim)),
        (between, slice(columns - rim, columns)),
    )
    return _Seam(
        (x0, y0, x1, y1), tuple((ys, xs, np.ascontiguousarray(share[ys, xs])) for ys, xs in places)
    )
