"""Puts the painted mouth into the background frame, as I420."""

from __future__ import annotations

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


class Compositor:
    """Backgrounds are converted once; of a speaking frame only the crop is. May be shared between
    threads."""

    def __init__(self, avatar: Avatar) -> None:
        self._avatar = avatar
        self._backgrounds: list[Image] = [
            np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420), np.uint8)
            for frame in avatar.frames
        ]
        self._seams: dict[tuple[int, int], npt.NDArray[np.uint16]] = {}

    def compose(self, frame: int, mouth: Image | None) -> Image:
        """uint8 (h * 3 / 2, w) I420 of background ``frame``, with ``mouth`` in its box if given.

        The array without a mouth is shared: do not write to it.
        """
        background = self._backgrounds[frame]
        if mouth is None:
            return background
        x, y, w, h = self._avatar.box(frame)
        if border := self._avatar.border:
            # whatever is here: the seam shows nothing of it
            mouth = np.pad(mouth, ((border, border), (border, border), (0, 0)), "edge")
        if mouth.shape[:2] != (h, w):
            mouth = np.asarray(cv2.resize(mouth, (w, h), interpolation=cv2.INTER_CUBIC), np.uint8)
        seam = self._seam(w, h)
        under = self._avatar.frames[frame][y : y + h, x : x + w]
        mixed = (mouth * seam + under * (256 - seam)) >> 8
        patch = cv2.cvtColor(mixed.astype(np.uint8), cv2.COLOR_BGR2YUV_I420)
        return self._paste(background.copy(), np.asarray(patch, np.uint8), (x, y, w, h))

    def _paste(self, whole: Image, patch: Image, box: tuple[int, int, int, int]) -> Image:
        x, y, w, h = box
        width, height = self._avatar.size
        whole[y : y + h, x : x + w] = patch[:h]
        chroma = whole[height:].reshape(2, height // 2, width // 2)
        small = patch[h:].reshape(2, h // 2, w // 2)
        chroma[:, y // 2 : (y + h) // 2, x // 2 : (x + w) // 2] = small
        return whole

    def _seam(self, w: int, h: int) -> npt.NDArray[np.uint16]:
        """How much of the mouth shows, 0..256: all inside the mask, nothing at its edge."""
        if (w, h) not in self._seams:
            across, down = seam_ramps(self._avatar.crop, self._avatar.border, w, h)
            share = np.minimum(across[None], down[:, None]) * 256 // SEAM_PX
            self._seams[w, h] = share.astype(np.uint16)[..., None]
        return self._seams[w, h]


def seam_ramps(
    crop: int, border: int, w: int, h: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """px inside the mask's edge, 0..SEAM_PX, of each column (w,) and each row (h,) of a box."""
    side = crop + 2 * border
    x0, y0, x1, y1 = (border + edge for edge in mask_rectangle(crop))

    def ramp(first: int, last: int, length: int) -> npt.NDArray[np.int64]:
        at = np.arange(length)
        begin, end = round(first * length / side), round(last * length / side)
        return np.minimum(at - begin, end - 1 - at).clip(0, SEAM_PX)

    return ramp(x0, x1, w), ramp(y0, y1, h)
