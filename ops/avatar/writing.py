"""Writes the files of a dataset in the published layout."""

from __future__ import annotations

import wave
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ops.avatar.dataset import Points

_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


def write_picture(file: Path, picture: npt.NDArray[np.uint8]) -> None:
    """A JPEG of a BGR picture."""
    _, data = cv2.imencode(".jpg", picture, _QUALITY)
    file.write_bytes(data.tobytes())


def write_landmarks(file: Path, points: Points) -> None:
    """110 lines "x y"."""
    text = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)
    file.write_text(text, encoding="ascii")


def write_wav(file: Path, pcm: npt.NDArray[np.float32], rate_hz: int) -> None:
    """Mono, 16 bit."""
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())
