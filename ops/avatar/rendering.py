"""Speech to pictures through the very parts a worker runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gpu_node.avatars import Avatar
from gpu_node.compositor import Compositor, ping_pong
from gpu_node.engine import Engine, FrameJob
from gpu_node.features import SAMPLE_RATE_HZ, MelStream, audio_window

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
_PIECE = 10 * SAMPLE_RATE_HZ
_TOGETHER = 8


def windows_of(pcm: Array) -> Array:
    """Every mel window of a whole speech at 16 kHz: (n, 80, 16)."""
    stream = MelStream()
    for start in range(0, len(pcm), _PIECE):
        stream.push(pcm[start : start + _PIECE])
    stream.finish()
    return np.stack(stream.windows())


def rendered(avatar: Avatar, engine: Engine, pcm: Array, count: int) -> Iterator[Image]:
    """The first ``count`` pictures of a speech at 16 kHz, one each 40 ms: uint8 (h * 3 / 2, w),
    I420. Raises AvatarError for weights that the engine cannot take."""
    engine.prepare(avatar, Compositor(avatar))
    features = engine.encode(avatar, list(windows_of(pcm)))
    for start in range(0, count, _TOGETHER):
        yield from engine.render(
            [
                FrameJob(avatar, ping_pong(at, len(avatar.frames)), audio_window(features, at))
                for at in range(start, min(count, start + _TOGETHER))
            ]
        )
