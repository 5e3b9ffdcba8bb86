"""The usual loop, as the baseline of the engine's bench: a frame at a time, everything each time.

Written anew from what the published one does: read the frame's JPEG, cut and resize the face, build
six channels, run both halves of the network in plain float32, put the mouth back, convert the whole
frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from gpu_node.avatars.crops import mask_rectangle
from gpu_node.avatars.package import Avatar
from gpu_node.synctalk import AudioEncoder, Generator

Image = npt.NDArray[np.uint8]


def write_frames(avatar: Avatar, folder: Path) -> None:
    """The background as the loop reads it: one JPEG a frame."""
    for index, frame in enumerate(avatar.frames):
        cv2.imwrite(str(folder / f"{index}.jpg"), frame)


@dataclass(frozen=True)
class Prepared:
    """One frame read and cut; ``image`` float32 (1, 6, crop, crop)."""

    whole: Image
    part: Image
    image: torch.Tensor


class ReferenceLoop:
    """``folder`` holds the frames that ``write_frames`` wrote."""

    def __init__(self, avatar: Avatar, generator: Generator, folder: Path) -> None:
        self._avatar = avatar
        self._generator = generator
        self._folder = folder

    def read(self, frame: int) -> Prepared:
        """From the file to the network's input."""
        avatar = self._avatar
        x, y, w, h = avatar.box(frame)
        whole = cv2.imread(str(self._folder / f"{frame}.jpg"))
        side, border = avatar.crop + 2 * avatar.border, avatar.border
        part = cv2.resize(whole[y : y + h, x : x + w], (side, side), interpolation=cv2.INTER_CUBIC)
        inner = part[border : border + avatar.crop, border : border + avatar.crop]
        x0, y0, x1, y1 = mask_rectangle(avatar.crop)
        masked = cv2.rectangle(inner.copy(), (x0, y0), (x1, y1), (0, 0, 0), -1)
        real = inner.copy().transpose(2, 0, 1).astype(np.float32) / 255.0
        hidden = masked.transpose(2, 0, 1).astype(np.float32) / 255.0
        both = np.concatenate([real, hidden], axis=0)[None]
        return Prepared(np.asarray(whole), np.asarray(part), torch.from_numpy(both))

    def paste(self, prepared: Prepared, frame: int, made: torch.Tensor) -> Image:
        """From the network's output to I420, uint8 (h * 3 / 2, w)."""
        avatar = self._avatar
        x, y, w, h = avatar.box(frame)
        mouth = (made.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        border, crop = avatar.border, avatar.crop
        prepared.part[border : border + crop, border : border + crop] = mouth
        whole = prepared.whole.copy()
        whole[y : y + h, x : x + w] = cv2.resize(
            prepared.part, (w, h), interpolation=cv2.INTER_CUBIC
        )
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_BGR2YUV_I420), np.uint8)

    def frame(self, frame: int, audio: npt.NDArray[np.float32]) -> Image:
        """All of it; ``audio`` float32 (16, 512)."""
        prepared = self.read(frame)
        with torch.no_grad():
            given = torch.from_numpy(audio).reshape(1, 32, 16, 16)
            made = self._generator(prepared.image, given)[0]
        return self.paste(prepared, frame, made)


def eager_ear(ear: AudioEncoder) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """One mel window (80, 16) to its feature, in plain torch."""

    def heard(window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(ear(torch.from_numpy(window)[None, None])[0].numpy())

    return heard
