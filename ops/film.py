"""Writes a film: pictures at 25 a second, with their sound."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

FPS = 25
RATE_HZ = 48_000
_PIECE = 1024
_QUALITY = "18"

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


def write_film(path: Path, size: tuple[int, int], pictures: Iterable[Image], pcm: Array) -> int:
    """MP4 of I420 pictures, uint8 (h * 3 / 2, w), and mono sound at 48 kHz; says how many.

    The sound is cut to the pictures.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with av.open(str(path), "w") as film:
        video = film.add_stream(
            "libx264", rate=FPS, options={"crf": _QUALITY, "preset": "veryfast"}
        )
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        audio = film.add_stream("aac", rate=RATE_HZ)
        audio.layout = "mono"
        for picture in pictures:
            film.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
            count += 1
        film.mux(video.encode())
        _write_sound(film, audio, pcm[: count * RATE_HZ // FPS])
    return count


def _write_sound(film: Any, audio: Any, pcm: Array) -> None:
    for start in range(0, len(pcm), _PIECE):
        piece = np.ascontiguousarray(pcm[None, start : start + _PIECE], np.float32)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        frame.pts = start
        film.mux(audio.encode(frame))
    film.mux(audio.encode())
