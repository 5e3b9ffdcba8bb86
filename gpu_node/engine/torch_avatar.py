"""One avatar on the device: its networks, its frames, and the buffers of its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine.port import Array, FrameJob
from gpu_node.engine.torch_blocks import Kernels
from gpu_node.engine.torch_compose import DeviceCompositor
from gpu_node.engine.torch_graph import Listener, Painter
from gpu_node.engine.torch_lanes import Lane, Work, Workshop
from gpu_node.engine.torch_memory import Budget, Kept
from gpu_node.features import COLUMNS, FEATURES, LOOKAHEAD_FRAMES, N_MELS
from gpu_node.synctalk import AudioEncoder, Generator

SIZES = (1, 2, 4, 8, 16, 32)
"""Of batches: each is captured once; smaller batches are filled up."""
_AUDIO = (2 * LOOKAHEAD_FRAMES, FEATURES)
_SEE = 8


class DeviceAvatar:
    """Made in the workshop; its batches run on its lane, and nothing here waits for them."""

    def __init__(
        self,
        avatar: Avatar,
        compositor: Compositor,
        networks: tuple[Generator, AudioEncoder],
        lane: Lane,
        kernels: Kernels,
        budget: Budget,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.avatar, self.lane = avatar, lane
        self._device = device
        self._painter = Painter(networks[0], kernels, device, dtype)
        self._listener = Listener(networks[1], device, dtype)
        most = SIZES[-1]
        self._compositor = DeviceCompositor(avatar, compositor, device)
        self._kept = Kept(avatar, self._painter.shapes(), budget, most, device, dtype)
        self._crops = self._look()
        self._frames = torch.zeros(2, most, dtype=torch.int64, device=device)
        self._fresh = torch.zeros(most, dtype=torch.int64, device=device)
        self._audio = torch.zeros(most, *_AUDIO, device=device)
        self._pictures = self._compositor.backgrounds.new_zeros(
            most, self._compositor.backgrounds.shape[1]
        )
        self._windows = torch.zeros(most, N_MELS, COLUMNS, device=device)
        self._features = torch.zeros(most, FEATURES, device=device)
        self._works: dict[tuple[str, int], Work] = {}

    def warm(self, size: int, workshop: Workshop) -> None:
        """Makes ready what a batch of this size needs. Raises torch.cuda.OutOfMemoryError."""
        steps = [self._draw, self._hear]
        if self._kept.spare:
            steps.append(self._see)
        for step in steps:
            self._works[step.__name__, size] = workshop.fixed(partial(step, size), self.lane)

    def render(self, jobs: Sequence[FrameJob], size: int) -> Tensor:
        """Starts a batch of ``size``; the jobs' pictures, uint8 (jobs, h * 3 / 2, w), in host
        memory, are there when the lane is done."""
        frames, rows = self._see_new([job.frame for job in jobs])
        given = self._host((2, size), torch.int64)
        given[0], given[1] = torch.tensor(frames[:1]), torch.tensor(rows[:1])
        given[0, : len(jobs)], given[1, : len(jobs)] = torch.tensor(frames), torch.tensor(rows)
        audio = self._host((len(jobs), *_AUDIO), torch.float32)
        np.stack([job.audio for job in jobs], out=audio.numpy())
        for numbers, fresh in zip(self._frames, given, strict=True):
            numbers[:size].copy_(fresh, non_blocking=True)
        self._audio[: len(jobs)].copy_(audio, non_blocking=True)
        self._run(self._draw, size)
        width, height = self.avatar.size
        pictures = self._host((len(jobs), height * 3 // 2, width), torch.uint8)
        made = self._pictures[: len(jobs)].view_as(pictures)
        return pictures.copy_(made, non_blocking=True)

    def encode(self, windows: Sequence[Array], size: int) -> Tensor:
        """Starts a batch of ``size``; the windows' features (windows, 512), likewise."""
        given = self._host((len(windows), N_MELS, COLUMNS), torch.float32)
        np.stack(windows, out=given.numpy())
        self._windows[: len(windows)].copy_(given, non_blocking=True)
        self._run(self._hear, size)
        features = self._host((len(windows), FEATURES), torch.float32)
        return features.copy_(self._features[: len(windows)], non_blocking=True)

    def free(self) -> None:
        """Lets go of its graphs; they hold this, and would keep it until the next collection."""
        self._works.clear()

    def _look(self) -> Tensor:
        """Keeps what is seen of the first frames; what the generator sees of the others, uint8
        (frames, crop, crop, 3)."""
        avatar, kept = self.avatar, self._kept
        for first in range(0, kept.frames, _SEE):
            frames = range(first, min(first + _SEE, kept.frames))
            crops = np.stack([avatar.cut(frame) for frame in frames])
            kept.put(first, self._painter.see(torch.from_numpy(crops).to(self._device)))
        others = [avatar.cut(frame) for frame in range(kept.frames, len(avatar.frames))]
        crops = np.stack(others) if others else np.empty((0, avatar.crop, avatar.crop, 3), np.uint8)
        return torch.from_numpy(crops).to(self._device)

    def _see_new(self, frames: list[int]) -> tuple[list[int], list[int]]:
        """The frames, and the rows where they are kept; starts seeing those that are not."""
        first = self._kept.frames
        new = {frame: first + at for at, frame in enumerate(
            dict.fromkeys(frame for frame in frames if frame >= first))}  # fmt: skip
        if new:
            size = next(size for size in SIZES if size >= len(new))
            given = self._host((size,), torch.int64).zero_()
            given[: len(new)] = torch.tensor([frame - first for frame in new])
            self._fresh[:size].copy_(given, non_blocking=True)
            self._run(self._see, size)
        return frames, [new.get(frame, frame) for frame in frames]

    def _see(self, size: int) -> None:
        crops = self._crops.index_select(0, self._fresh[:size])
        self._kept.put(self._kept.frames, self._painter.see(crops))

    def _draw(self, size: int) -> None:
        frames, rows = self._frames[:, :size]
        mouths = self._painter.paint(self._kept.levels, rows, self._audio[:size])
        self._compositor.compose(frames, mouths, self._pictures[:size])

    def _hear(self, size: int) -> None:
        self._features[:size].copy_(self._listener.features(self._windows[:size]))

    def _run(self, step: Callable[[int], None], size: int) -> None:
        work = self._works.get((step.__name__, size))
        if work is None:
            step(size)
        else:
            work()

    def _host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Host memory that the device reads and writes by itself. It returns to torch's store,
        and is given out again, only when nobody holds it and no copy is under way."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")
