"""The CPU's engine: onnxruntime, with what no audio touches computed once an avatar."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import onnxruntime

from gpu_node.avatars.crops import image_input
from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import graphs, onnx_int8
from gpu_node.engine.onnx_int8 import Levels, Networks, run
from gpu_node.engine.port import Array, FrameJob, Image, Timing

S = TypeVar("S")
T = TypeVar("T")
_CACHE_MIB = 512
_SOME = 8
"""Frames that the ranges of eight bits are found on."""


@dataclass(frozen=True, eq=False)
class _Ready:
    encoder: Any
    networks: Networks
    compositor: Compositor
    kept: list[Levels]
    """Of the first frames, as many as the cache holds: cyclic play would defeat an LRU."""

    def of(self, avatar: Avatar, frame: int) -> Levels:
        """What no audio touches."""
        if frame < len(self.kept):
            return self.kept[frame]
        return self.networks.keep(_encoded(self.encoder, avatar, frame))


class OnnxEngine:
    """Batching gains nothing on a CPU: a frame takes one thread, and ``threads`` go at once, in one
    call or in as many.

    ``cache_mib`` bounds what is kept of one avatar's encoded frames (2.4 MB a frame at crop 160
    and width 16, 19 MB at the published size); the others are encoded each time. ``exact`` keeps
    to 32 bits where eight would do.
    """

    name = "onnxruntime"

    def __init__(
        self, threads: int = 1, cache_mib: float = _CACHE_MIB, *, exact: bool = False
    ) -> None:
        self.callers = threads
        self._exact = exact
        self._cache_bytes = cache_mib * 2**20
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = 1
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3
        self._pool = ThreadPoolExecutor(threads, "frame") if threads > 1 else None
        self._spent = threading.local()
        self._ready: WeakKeyDictionary[Avatar, _Ready] = WeakKeyDictionary()

    def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """See the port."""
        if avatar in self._ready:
            return
        weights = graphs.Weights(avatar.generator_path)
        weights.expect_channels("inc.inconv.0.conv.6.weight", avatar.width, "width")
        ear = graphs.Weights(avatar.audio_encoder_path)
        ear.expect_channels("0.conv_block.0.weight", avatar.audio_width, "audio_width")
        encoder = self._session(graphs.image_encoder(weights, avatar.crop))
        first = _encoded(encoder, avatar, 0)
        each = sum(level.nbytes for level in first.values())
        kept = min(len(avatar.frames), max(1, int(self._cache_bytes // each)))
        # in this thread alone: those of the pool paint, and must not wait behind this
        levels = [first, *(_encoded(encoder, avatar, frame) for frame in range(1, kept))]
        models = graphs.audio_encoder(ear), graphs.decoder(weights, avatar.crop)
        if self._exact:
            networks = Networks(*map(self._session, models))
        else:
            some = levels[:: max(1, kept // _SOME)]
            networks = onnx_int8.networks(avatar.name, *models, some, self._session)
        for at, level in enumerate(levels):
            levels[at] = networks.keep(level)
        self._ready[avatar] = _Ready(encoder, networks, compositor, levels)

    def encode(self, avatar: Avatar, windows: Sequence[Array]) -> list[Array]:
        """See the port."""
        ear = self._ready[avatar].networks.ear

        def feature(window: Array) -> Array:
            return np.asarray(ear.run(["feature"], {"window": window[None, None]})[0][0])

        return self._map(feature, windows)

    def render(self, jobs: Sequence[FrameJob]) -> list[Image]:
        """See the port."""
        began = time.perf_counter()
        made = self._map(self._picture, jobs)
        took_s = time.perf_counter() - began
        # frames go side by side: the clock's time is shared out by what each stage took in them
        network_s = sum(spent_s for _, spent_s, _ in made)
        composition_s = sum(spent_s for _, _, spent_s in made)
        share = took_s / max(network_s + composition_s, 1e-9)
        self._spent.timing = Timing(network_s * share, composition_s * share)
        return [picture for picture, _, _ in made]

    @property
    def last_timing(self) -> Timing:
        """Of this thread's last ``render``."""
        timing: Timing = getattr(self._spent, "timing", Timing(0.0, 0.0))
        return timing

    def forget(self, avatar: Avatar) -> None:
        """See the port."""
        self._ready.pop(avatar, None)

    def close(self) -> None:
        """See the port."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._ready.clear()

    def _picture(self, job: FrameJob) -> tuple[Image, float, float]:
        """The picture, and the seconds of its network and of its composition."""
        began = time.perf_counter()
        ready = self._ready[job.avatar]
        kept = ready.of(job.avatar, job.frame)
        given = {"audio": job.audio.reshape(1, 32, 16, 16), **kept}
        made = ready.networks.painter.run(["picture"], given)[0][0]
        painted = time.perf_counter()
        picture = ready.compositor.compose(job.frame, made)
        return picture, painted - began, time.perf_counter() - painted

    def _map(self, function: Callable[[S], T], items: Iterable[S]) -> list[T]:
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def _session(self, model: bytes) -> Any:
        return onnxruntime.InferenceSession(model, self._options, ["CPUExecutionProvider"])


def _encoded(encoder: Any, avatar: Avatar, frame: int) -> Levels:
    return run(encoder, {"image": image_input(avatar.cut(frame))[None]})
