"""How many 25 fps streams this worker can hold, measured on itself, and what the limit is."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from gpu_node.avatars.package import Avatar
from gpu_node.engine import Engine, FrameJob
from gpu_node.features import COLUMNS, FEATURES, FPS, LOOKAHEAD_FRAMES, N_MELS
from gpu_node.metrics import Limit

_BATCHES = (1, 4, 8)
_ENGINE_SHARE = 0.8
"""Of the engine's time: the rest absorbs what comes at once."""
_STREAM_CORES = 0.12
"""VP8 at 512 x 512, Opus and RTP of one stream (measured: 0.106 to 0.13 of a core)."""
_MOST = 1000


@dataclass(frozen=True)
class Capacity:
    """``slots`` and what keeps them from being more; the others are what a frame costs alone."""

    slots: int
    limit: Limit
    frame_ms: float
    frame_core_ms: float
    batch: int
    engine_streams: float
    core_streams: float

    def found(self, slots: int) -> Capacity:
        """With the number that was found by trying."""
        return replace(self, slots=slots)


def measure(
    engine: Engine, avatar: Avatar, cores: int, cpu_share: float, seconds: float = 1.0
) -> Capacity:
    """Renders frames as sessions do, every one of them speaking, for about ``seconds``."""
    best: tuple[float, float, int] | None = None
    for batch in _BATCHES:
        wall_s, core_s = _frame_cost(engine, avatar, batch, seconds / len(_BATCHES))
        if best is None or wall_s < best[0]:
            best = (wall_s, core_s, batch)
    assert best is not None
    on_gpu = engine.name == "torch"
    return capacity(*best, cores=cores, cpu_share=cpu_share, on_gpu=on_gpu)


def capacity(
    wall_s: float, core_s: float, batch: int, *, cores: int, cpu_share: float, on_gpu: bool
) -> Capacity:
    """Streams from what one frame costs on the clock and in core time."""
    engine_streams = _ENGINE_SHARE / (FPS * wall_s)
    core_streams = cores * cpu_share / (FPS * core_s + _STREAM_CORES)
    slots = max(0, min(_MOST, int(min(engine_streams, core_streams))))
    limit: Limit = "gpu" if on_gpu and engine_streams < core_streams else "host_cpu"
    return Capacity(slots, limit, wall_s * 1e3, core_s * 1e3, batch, engine_streams, core_streams)


def tell(measured: Capacity, slots: int, logger: logging.Logger) -> None:
    """Logs how the number came about."""
    logger.info(
        "capacity: %d slots, limited by %s; a frame takes %.1f ms (%.1f core-ms) in batches of %d: "
        "by that the engine holds %.1f streams, the cores %.1f",
        slots,
        measured.limit,
        measured.frame_ms,
        measured.frame_core_ms,
        measured.batch,
        measured.engine_streams,
        measured.core_streams,
    )


class Remembered:
    """What was measured, by what it was measured of: a restart need not try again."""

    def __init__(self, folder: Path | None = None) -> None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._file = (folder or caches / "rapido") / "capacity.json"

    def get(self, key: str) -> Capacity | None:
        """None where it is not known; a damaged file is no knowledge."""
        try:
            return Capacity(**json.loads(self._file.read_text())[key])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, measured: Capacity) -> None:
        """Beside what others measured. A disk that takes it not costs a new measuring, no more."""
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            known = {}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps({**known, key: asdict(measured)}, indent=1))
            fresh.replace(self._file)
        except OSError as error:
            logging.getLogger(__name__).warning("the capacity is not remembered: %s", error)


def key(*parts: str) -> str:
    """Of hardware, avatar, version: whatever changes the outcome."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


def _frame_cost(engine: Engine, avatar: Avatar, batch: int, seconds: float) -> tuple[float, float]:
    window = np.zeros((N_MELS, COLUMNS), np.float32)
    audio = np.zeros((2 * LOOKAHEAD_FRAMES, FEATURES), np.float32)
    frames = len(avatar.frames)
    engine.render([FrameJob(avatar, at % frames, audio) for at in range(batch)])  # warm
    count, began, core_began = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds or count == 0:
        engine.encode(avatar, [window] * batch)
        engine.render([FrameJob(avatar, (count + at) % frames, audio) for at in range(batch)])
        count += batch
    return (time.perf_counter() - began) / count, (time.process_time() - core_began) / count
