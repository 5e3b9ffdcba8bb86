"""The GPU's engine: torch in half precision, batches of a few fixed sizes, one CUDA graph each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import count
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gpu_node.avatars.package import Avatar, AvatarError
from gpu_node.compositor import Compositor
from gpu_node.engine import torch_choice
from gpu_node.engine.port import Array, EngineError, FrameJob, Image
from gpu_node.engine.torch_avatar import SIZES, DeviceAvatar
from gpu_node.engine.torch_lanes import Gather, Lane, Record, Workshop, captured
from gpu_node.engine.torch_memory import Budget
from gpu_node.engine.torch_precision import precision
from gpu_node.features import FEATURES, LOOKAHEAD_FRAMES
from gpu_node.synctalk import load_audio_encoder, load_generator
from gpu_node.synctalk.weights import WeightsError

_LANES = 4
_ROOMY_BYTES = 20 * 2**30  # each lane's graphs hold a gigabyte or two
_WORTH_FILLING = 4
"""Frames: what a batch costs at any size, its launches and its weights, buys about so many."""
_AUDIO = (2 * LOOKAHEAD_FRAMES, FEATURES)
_log = logging.getLogger(__name__)


class TorchEngine:
    """``device`` is torch's name of it; on a CPU it runs in full precision, for comparison.

    ``cache_bytes`` bounds what is kept of all avatars' encoded frames (10 MB a frame at the
    published size in half precision); by default half of what the GPU has free.

    Pictures that ``render`` returns are the caller's for as long as they are held. Those of a batch
    share one block of pinned memory, used again when none of them is held any more.
    """

    name = "torch"
    callers = 1

    def __init__(
        self,
        device: str,
        cache_bytes: int | None = None,
        max_batch: int = SIZES[-1],
        record: Record = captured,
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(
                "torch sees no GPU: install NVIDIA's driver, or set RAPIDO_DEVICE=cpu"
            )
        self.max_batch = max_batch
        """Frames; less after the GPU's memory did not hold that many."""
        self._device = torch.device(device)
        self._budget = Budget.of(self._device) if cache_bytes is None else Budget(cache_bytes)
        self.kernels = torch_choice.kernels(self._device)
        gpu = self._device.type == "cuda"
        if gpu:
            torch.backends.cudnn.benchmark = True
        lanes = _LANES if gpu and _gpu_bytes(self._device) >= _ROOMY_BYTES else _LANES // 2
        self._lanes = [Lane(self._device) for _ in range(lanes)]
        self._workshop = Workshop(self._device, record if gpu else None)
        self._turn = count()
        self._ready: WeakKeyDictionary[Avatar, DeviceAvatar] = WeakKeyDictionary()

    @torch.inference_mode()
    def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """See the port. Raises AvatarError also where the GPU's memory does not hold it."""
        if avatar in self._ready:
            return
        try:
            generator = load_generator(avatar.generator_path, avatar.crop, avatar.width)
            ear = load_audio_encoder(avatar.audio_encoder_path, avatar.audio_width)
        except WeightsError as error:
            raise AvatarError(str(error)) from error
        lane = self._lanes[next(self._turn) % len(self._lanes)]
        try:
            with self._workshop.on():
                dtype = precision(generator, avatar, self._device)
                made = DeviceAvatar(
                    avatar, compositor, (generator, ear), lane, self.kernels,
                    self._budget, self._device, dtype,
                )  # fmt: skip
            self._warm(made)
        except torch.cuda.OutOfMemoryError as error:
            raise AvatarError(
                f"avatar {avatar.name!r}: does not fit into the GPU's memory; "
                "give this worker fewer avatars"
            ) from error
        self._ready[avatar] = made

    @torch.inference_mode()
    def encode(self, avatar: Avatar, windows: Sequence[Array]) -> list[Array]:
        """See the port."""
        ready = self._ready[avatar]
        made: list[Tensor] = []

        def start(first: int, end: int, size: int) -> None:
            made.append(ready.encode(windows[first:end], size))

        gather = Gather()
        self._in_batches(ready, len(windows), start, gather)
        gather.wait()
        # copies: a feature is held long after its batch
        return [row.copy() for features in made for row in features.numpy()]

    @torch.inference_mode()
    def render(self, jobs: Sequence[FrameJob]) -> list[Image]:
        """See the port. Raises ValueError for a frame or features that are none."""
        for job in jobs:
            _check(job)
        places: list[tuple[list[int], Tensor]] = []
        gather = Gather()
        for avatar in dict.fromkeys(job.avatar for job in jobs):
            mine = [index for index, job in enumerate(jobs) if job.avatar is avatar]
            ready = self._ready[avatar]

            def start(first: int, end: int, size: int, ready: DeviceAvatar = ready,
                      mine: list[int] = mine) -> None:  # fmt: skip
                batch = mine[first:end]
                places.append((batch, ready.render([jobs[index] for index in batch], size)))

            self._in_batches(ready, len(mine), start, gather)
        gather.wait()
        pictures: dict[int, Image] = {}
        for batch, made in places:
            pictures.update(zip(batch, made.numpy(), strict=True))
        return [pictures[index] for index in range(len(jobs))]

    def forget(self, avatar: Avatar) -> None:
        """See the port."""
        made = self._ready.pop(avatar, None)
        if made is not None:
            made.free()

    def close(self) -> None:
        """See the port."""
        for avatar in list(self._ready):
            self.forget(avatar)

    def _warm(self, made: DeviceAvatar) -> None:
        """Every size, the largest first: the others find its memory."""
        if self._device.type != "cuda":
            return
        size = self.max_batch
        while size:
            try:
                made.warm(size, self._workshop)
            except torch.cuda.OutOfMemoryError as error:
                self._shrink(size, error)
            size //= 2
        self._workshop.wait()

    def _in_batches(
        self,
        ready: DeviceAvatar,
        total: int,
        start: Callable[[int, int, int], None],
        gather: Gather,
    ) -> None:
        """Starts ``total`` items, in batches that memory holds, on the avatar's lane."""
        done = 0
        gather.add(ready.lane)
        while done < total:
            size = batch_size(total - done, self.max_batch)
            end = min(total, done + size)
            try:
                with ready.lane.on():
                    start(done, end, size)
            except torch.cuda.OutOfMemoryError as error:
                self._shrink(size, error)
                continue
            done = end

    def _shrink(self, size: int, error: Exception) -> None:
        if size == 1:
            raise error
        self.max_batch = min(self.max_batch, size // 2)
        _log.warning("a batch of %d does not fit; at most %d from now on", size, self.max_batch)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def batch_size(waiting: int, largest: int) -> int:
    """Of the next batch, a power of two: filled up where little is missing, else full."""
    filled = 1 << (waiting - 1).bit_length()
    size = filled if filled - waiting <= _WORTH_FILLING else filled // 2
    return min(size, largest)


def _check(job: FrameJob) -> None:
    if not 0 <= job.frame < len(job.avatar.frames):
        raise ValueError(
            f"frame: {job.frame} is not one of {len(job.avatar.frames)} of {job.avatar.name!r}"
        )
    if job.audio.shape != _AUDIO:
        raise ValueError(f"audio: features of shape {job.audio.shape}; give {_AUDIO}")


def _gpu_bytes(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)
