"""How the ear (the audio encoder) and the mouth (the generator) learn, on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gpu_node.avatars.crops import mask_rectangle
from gpu_node.synctalk import AudioEncoder, Generator
from ops.avatar.drawing import CROP

Array = npt.NDArray[np.float32]
Say = Callable[[str], None]
_AHEAD = 6
"""Frames whose mouth one window tells of: it holds 200 ms of sound and a little around."""
_EAR_BATCH = 64
_EAR_RATE = 2e-3
_MOUTH_RATE = 2e-3
_MOUTH_WEIGHT = 4.0
_TELL_EVERY_S = 30.0
_LONGEST_STEP_S = 5.0


def train_ear(width: int, epochs: int, spoken: list[tuple[Array, Array]], say: Say) -> AudioEncoder:
    """An encoder from whose feature the mouths of the window's frames can be read.

    ``spoken``: of each clip its windows (n, 80, 16) and its mouths (frames, 4).
    """
    encoder = AudioEncoder(width).to(memory_format=torch.channels_last)
    head = nn.Linear(512, 4 * _AHEAD)
    # the first and the last window stand there twice: they belong to no frame of their own
    x = torch.from_numpy(np.concatenate([w[1:-1] for w, _ in spoken]))[:, None]
    y = torch.from_numpy(np.concatenate([_ahead(m, len(w) - 2) for w, m in spoken]))
    optimiser = torch.optim.AdamW(
        [*encoder.parameters(), *head.parameters()], lr=_EAR_RATE, weight_decay=1e-3
    )
    whole = len(x) // _EAR_BATCH * _EAR_BATCH
    steps = epochs * whole // _EAR_BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _EAR_RATE, total_steps=steps + 1)
    began = time.monotonic()
    for epoch in range(1, epochs + 1):
        losses = []
        for picks in torch.split(torch.randperm(len(x))[:whole], _EAR_BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                features = encoder(x[picks].contiguous(memory_format=torch.channels_last))
            loss = (head(features.float()) - y[picks]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        left_s = (time.monotonic() - began) * (epochs / epoch - 1)
        say(f"ear: epoch {epoch} of {epochs}, loss {np.mean(losses):.4f}, {left_s:.0f} s left")
    return encoder.eval()


def _ahead(mouths: Array, count: int) -> Array:
    """For each window the mouths of the frames it holds: (count, 4 * _AHEAD)."""
    index = np.arange(count)[:, None] + np.arange(_AHEAD)[None]
    ahead: Array = mouths[np.minimum(index, len(mouths) - 1)].reshape(count, -1)
    return ahead


@torch.no_grad()
def hear(encoder: AudioEncoder, windows: Array) -> Array:
    """Features (n, 512) of windows (n, 80, 16)."""
    parts = [encoder(piece[:, None]) for piece in torch.split(torch.from_numpy(windows), 128)]
    features: Array = torch.cat(parts).numpy()
    return features


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the mouth learns from. idle: (frames, 6, crop, crop) inputs in 0..1. Of n examples:
    poses (n,) the idle frame, audio (n, 16, 512), pictures uint8 (n, crop, crop, 3) BGR."""

    idle: torch.Tensor
    poses: torch.Tensor
    audio: torch.Tensor
    pictures: npt.NDArray[np.uint8]

    def batch(self, picks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image, audio and wanted picture of the examples picked."""
        image = self.idle[self.poses[picks]].contiguous(memory_format=torch.channels_last)
        wanted = torch.from_numpy(self.pictures[picks.numpy()]).permute(0, 3, 1, 2).float() / 255
        return image, self.audio[picks].reshape(-1, 32, 16, 16), wanted


def train_mouth(
    width: int, lesson: Lesson, minutes: float, batch: int, say: Say
) -> tuple[Generator, int]:
    """A generator that paints what was drawn, after ``minutes`` of learning; and its steps."""
    generator = Generator(CROP, width).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=_MOUTH_RATE, weight_decay=1e-4)
    weight = _weights()
    losses: list[float] = []
    for spent in _clock(minutes * 60, losses, say):
        for group in optimiser.param_groups:
            group["lr"] = _rate(spent)
        image, audio, wanted = lesson.batch(torch.randint(len(lesson.poses), (batch,)))
        with torch.autocast("cpu", torch.bfloat16):
            made = generator(image, audio)
        loss = ((made.float() - wanted).abs() * weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return _settled(generator, lesson), len(losses)


def _clock(duration_s: float, losses: list[float], say: Say) -> Iterator[float]:
    """The share of the time that is spent, step after step; tells how it goes meanwhile.

    A pause of the whole process is not time spent: learning goes on where it stood.
    """
    spent_s = told_s = 0.0
    last = time.monotonic()
    while spent_s < duration_s:
        yield spent_s / duration_s
        now = time.monotonic()
        spent_s += min(now - last, _LONGEST_STEP_S)
        last = now
        if spent_s - told_s > _TELL_EVERY_S:
            told_s = spent_s
            loss, left_s = np.mean(losses[-100:]), max(0.0, duration_s - spent_s)
            say(f"mouth: step {len(losses)}, loss {loss:.4f}, {left_s:.0f} s left")


def _rate(spent: float) -> float:
    """Learning rate: a short rise, then half a cosine down to nothing."""
    return _MOUTH_RATE * min(1.0, spent * 30 + 0.02) * (0.5 + 0.5 * float(np.cos(np.pi * spent)))


@torch.no_grad()
def _settled(generator: Generator, lesson: Lesson) -> Generator:
    """Batch statistics taken once more with the final weights, in full precision."""
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    generator.train()
    for picks in torch.split(torch.randperm(len(lesson.poses))[:640], 32):
        if len(picks) > 1:
            image, audio, _ = lesson.batch(picks)
            generator(image, audio)
    return generator.eval()


def _weights() -> torch.Tensor:
    """The mouth counts more than the cheeks; what is never pasted counts little."""
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    near = torch.exp(-(((x - 80) / 42.0) ** 2) - ((y - 72) / 34.0) ** 2)
    x0, y0, x1, y1 = mask_rectangle(CROP)
    shown = torch.zeros(CROP, CROP)
    shown[y0:y1, x0:x1] = 1.0
    return 0.2 + shown * (0.8 + _MOUTH_WEIGHT * near)
