"""The GPU's engine: torch in half precision, one batch an avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from gpu_node.avatars.crops import image_input
from gpu_node.avatars.package import Avatar, AvatarError
from gpu_node.compositor import Compositor
from gpu_node.engine.port import Array, EngineError, FrameJob, Image
from gpu_node.synctalk import AudioEncoder, Generator, load_audio_encoder, load_generator
from gpu_node.synctalk.weights import WeightsError


@dataclass(frozen=True, eq=False)
class _Ready:
    compositor: Compositor
    ear: AudioEncoder
    painter: Generator
    levels: list[torch.Tensor]


class TorchEngine:
    """``device`` is torch's name of it; on a CPU it runs in full precision, for comparison."""

    name = "torch"

    def __init__(self, device: str) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(
                "torch sees no GPU: install NVIDIA's driver, or set RAPIDO_DEVICE=cpu"
            )
        self._device = torch.device(device)
        self._type = torch.float16 if self._device.type == "cuda" else torch.float32
        self._ready: WeakKeyDictionary[Avatar, _Ready] = WeakKeyDictionary()

    @torch.inference_mode()
    def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """See the port."""
        if avatar in self._ready:
            return
        try:
            painter = load_generator(avatar.generator_path, avatar.crop, avatar.width)
            ear = load_audio_encoder(avatar.audio_encoder_path, avatar.audio_width)
        except WeightsError as error:
            raise AvatarError(str(error)) from error
        painter.to(self._device, self._type).to(memory_format=torch.channels_last)
        ear.to(self._device, self._type)
        kept: list[list[torch.Tensor]] = []
        for frame in range(len(avatar.frames)):
            image = torch.from_numpy(image_input(avatar.cut(frame)))[None]
            kept.append(painter.encode_image(image.to(self._device, self._type)))
        levels = [torch.cat(level) for level in zip(*kept, strict=True)]
        self._ready[avatar] = _Ready(compositor, ear, painter, levels)

    @torch.inference_mode()
    def encode(self, avatar: Avatar, windows: Sequence[Array]) -> list[Array]:
        """See the port."""
        if not windows:
            return []
        given = torch.from_numpy(np.stack(windows))[:, None].to(self._device, self._type)
        features: Array = self._ready[avatar].ear(given).float().cpu().numpy()
        return list(features)

    @torch.inference_mode()
    def render(self, jobs: Sequence[FrameJob]) -> list[Image]:
        """See the port."""
        pictures: dict[int, Image] = {}
        for avatar in dict.fromkeys(job.avatar for job in jobs):
            ready = self._ready[avatar]
            mine = [index for index, job in enumerate(jobs) if job.avatar is avatar]
            frames = torch.tensor([jobs[index].frame for index in mine], device=self._device)
            audio = np.stack([jobs[index].audio.reshape(32, 16, 16) for index in mine])
            levels = [level[frames] for level in ready.levels]
            made = ready.painter.decode(
                levels, torch.from_numpy(audio).to(self._device, self._type)
            )
            made = (made.float() * 255.0 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
            for index, mouth in zip(mine, made.cpu().numpy(), strict=True):
                pictures[index] = ready.compositor.compose(jobs[index].frame, mouth)
        return [pictures[index] for index in range(len(jobs))]

    def forget(self, avatar: Avatar) -> None:
        """See the port."""
        self._ready.pop(avatar, None)

    def close(self) -> None:
        """See the port."""
        self._ready.clear()
