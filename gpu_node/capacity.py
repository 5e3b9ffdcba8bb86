"""How many 25 fps streams this worker can hold, measured on itself, and what the limit is."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Sequence
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
MOST_BUSY = 0.9
"""Of the machine's cores. A full one holds for the seconds of a trial, its queues filling, and no
longer."""
_ENCODER_SHARE = 0.9
_SPARE = 0.25
"""Of c cores the share of 0.25 / √c stays free: streams meet by chance, the less so the more cores
there are, and neighbours take some (decision 0010)."""
_LEAST_SHARE = 0.01
_STREAM_BYTES = 8 * 2**20
"""What a stream takes at the least (measured: 5 MiB in a room of its own, at 256 x 256)."""
_RESERVE_BYTES, _RESERVE_SHARE = 256 * 2**20, 0.1
_MOST = 1000


@dataclass(frozen=True)
class Capacity:
    """``limits``: the streams that each resource holds by itself; the least of them binds.

    The others are what a frame costs alone, and, where it was tried, what a stream takes of memory
    and encoding one of its frames of time.
    """

    limits: dict[Limit, float]
    frame_ms: float
    frame_core_ms: float
    batch: int
    stream_bytes: float | None = None
    encode_ms: float | None = None

    @property
    def slots(self) -> int:
        """Streams to announce."""
        return max(0, min(_MOST, int(min(self.limits.values()))))

    @property
    def limit(self) -> Limit:
        """What keeps them from being more."""
        return min(self.limits, key=lambda one: self.limits[one])

    def within(self, available_bytes: float) -> Capacity:
        """With what memory holds, where a stream's share of it is known."""
        if self.stream_bytes is None:
            return self
        left = available_bytes - max(_RESERVE_BYTES, _RESERVE_SHARE * available_bytes)
        return replace(self, limits={**self.limits, "memory": max(0.0, left / self.stream_bytes)})


@dataclass(frozen=True)
class Load:
    """What a trial of ``streams`` took; shares are 0..1.

    engine_share: of the engine's thread. loop_share: of the event loop's thread, in processor time.
    cores_share: of all cores. busy_share: of all cores, by whoever. resident_bytes: of the process.
    encoder_share: of the GPU's video encoder. encoded_by, encoded_fps, encode_ms: of one stream's
    encoder. None is what nobody tells.
    """

    streams: int
    holds: bool
    engine_share: float
    loop_share: float
    cores_share: float
    busy_share: float
    resident_bytes: int
    encoder_share: float | None = None
    encoded_fps: float | None = None
    encode_ms: float | None = None
    encoded_by: str | None = None

    @property
    def host_share(self) -> float:
        """Of the host: one Python thread hands every frame over, so it may be full first."""
        return max(self.loop_share, self.cores_share)

    @property
    def fullest(self) -> float:
        """Of what a stream may have waited for."""
        return max(self.engine_share, self.loop_share, self.busy_share, self.encoder_share or 0.0)


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
    limits: dict[Limit, float] = {"host_cpu": min(engine_streams, core_streams)}
    if on_gpu:
        limits = {"gpu": engine_streams, "host_cpu": core_streams}
    return Capacity(limits, wall_s * 1e3, core_s * 1e3, batch)


def room_in_cores(loads: Sequence[Load], cores: int) -> int:
    """Streams that the cores have room for, by what the largest trial that held took of them; 0
    where none held."""
    held = [one for one in loads if one.holds]
    if not held:
        return 0
    most = max(held, key=lambda one: one.streams)
    each = max(most.busy_share, _LEAST_SHARE) / most.streams
    return max(1, int(min(MOST_BUSY, 1.0 - _SPARE / math.sqrt(cores)) / each))


def tried(
    expected: Capacity,
    found: int,
    loads: Sequence[Load],
    resident_bytes: int,
    *,
    on_gpu: bool,
) -> Capacity:
    """What trials of ``loads`` found, ``found`` streams having held; at least one was made.

    ``resident_bytes``: of the process before the first of them.
    """
    most = max(loads, key=lambda one: one.streams)
    failed = [one for one in loads if not one.holds]
    # what was fuller where it failed first is what failed; where none did, is what would
    told = min(failed, key=lambda one: one.streams) if failed else most
    limits: dict[Limit, float] = {"host_cpu": found}
    if on_gpu and told.engine_share > told.host_share:
        room = told.engine_share / max(told.host_share, _LEAST_SHARE)
        limits = {"gpu": found, "host_cpu": found * room}
    elif on_gpu:
        room = told.host_share / max(told.engine_share, _LEAST_SHARE)
        limits = {"host_cpu": found, "gpu": found * room}
    encoder = encoder_streams(loads)
    if encoder is not None:
        limits["encoder"] = encoder
    grown = max(one.resident_bytes for one in loads) - resident_bytes
    return replace(
        expected,
        limits=limits,
        stream_bytes=max(_STREAM_BYTES, grown / most.streams),
        encode_ms=told.encode_ms,
    )


def encoder_streams(loads: Sequence[Load]) -> float | None:
    """Streams that the GPU's video encoder holds; None where it was not seen at work.

    A full one drops frames, and no picture is late for that: so it counts what it encoded.
    """
    known = [
        (one.encoder_share, one.streams * one.encoded_fps / FPS)
        for one in loads
        if one.encoder_share and one.encoded_fps is not None
    ]
    if not known:
        return None
    share, streams = max(known)
    return _ENCODER_SHARE * streams / share


def tell(measured: Capacity, slots: int, logger: logging.Logger) -> None:
    """Logs how the number came about."""
    logger.info(
        "capacity: %d slots, limited by %s; a frame takes %.1f ms (%.1f core-ms) in batches of %d; "
        "streams by resource: %s",
        slots,
        measured.limit,
        measured.frame_ms,
        measured.frame_core_ms,
        measured.batch,
        ", ".join(f"{name} {streams:.1f}" for name, streams in sorted(measured.limits.items())),
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
