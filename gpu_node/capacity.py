"""How many 25 fps streams this worker can hold, measured on itself."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np

from gpu_node.avatars.package import Avatar
from gpu_node.engine import Engine, FrameJob
from gpu_node.features import COLUMNS, FEATURES, FPS, LOOKAHEAD_FRAMES, N_MELS

_BATCHES = (1, 4, 8)
_ENGINE_SHARE = 0.8
"""Of the engine's time: the rest absorbs what comes at once."""
_STREAM_CORES = 0.12
"""VP8 at 512 x 512, Opus and RTP of one stream (measured: 0.106 to 0.13 of a core)."""


@dataclass(frozen=True)
class Capacity:
    """``slots`` is the smaller of what the engine and the cores hold."""

    slots: int
    frame_ms: float
    frame_core_ms: float
    batch: int
    engine_streams: float
    core_streams: float


def measure(
    engine: Engine,
    avatar: Avatar,
    cores: int,
    cpu_share: float,
    seconds: float = 1.0,
) -> Capacity:
    """Renders frames as sessions do, every one of them speaking, for about ``seconds``."""
    best: tuple[float, float, int] | None = None
    for batch in _BATCHES:
        wall_s, core_s = _frame_cost(engine, avatar, batch, seconds / len(_BATCHES))
        if best is None or wall_s < best[0]:
            best = (wall_s, core_s, batch)
    assert best is not None
    return capacity(*best, cores=cores, cpu_share=cpu_share)


def capacity(wall_s: float, core_s: float, batch: int, *, cores: int, cpu_share: float) -> Capacity:
    """Streams from what one frame costs on the clock and in core time."""
    engine_streams = _ENGINE_SHARE / (FPS * wall_s)
    core_streams = cores * cpu_share / (FPS * core_s + _STREAM_CORES)
    slots = max(0, min(1000, int(min(engine_streams, core_streams))))
    return Capacity(slots, wall_s * 1e3, core_s * 1e3, batch, engine_streams, core_streams)


def tell(measured: Capacity, slots: int, logger: logging.Logger) -> None:
    """Logs how the number came about."""
    logger.info(
        "capacity: %d slots; a frame takes %.1f ms (%.1f core-ms) in batches of %d: "
        "the engine holds %.1f streams, the cores %.1f",
        slots,
        measured.frame_ms,
        measured.frame_core_ms,
        measured.batch,
        measured.engine_streams,
        measured.core_streams,
    )


def _frame_cost(engine: Engine, avatar: Avatar, batch: int, seconds: float) -> tuple[float, float]:
    window = np.zeros((N_MELS, COLUMNS), np.float32)
    audio = np.zeros((2 * LOOKAHEAD_FRAMES, FEATURES), np.float32)
    frames = len(avatar.frames)
    engine.render([FrameJob(avatar, at % frames, audio) for at in range(batch)])  # warm
    count, began, core_began = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds or count == 0:
        engine.encode(avatar, [window] * batch)
        jobs = [FrameJob(avatar, (count + at) % frames, audio) for at in range(batch)]
        engine.render(jobs)
        count += batch
    return (time.perf_counter() - began) / count, (time.process_time() - core_began) / count
