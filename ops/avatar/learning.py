"""How the ear (the audio encoder) and the mouth (the generator) learn, on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gpu_node.avatars.crops import mask_rectangle
from gpu_node.synctalk import AudioEncoder, Generator

Array = npt.NDArray[np.float32]
Say = Callable[[str], None]
_AHEAD = 6
"""Frames whose mouth one window tells of: it holds 200 ms of sound and a little around."""
_EAR_BATCH = 64
_EAR_RATE = 2e-3
_MOUTH_RATE = 2e-3
_MOUTH_WEIGHT = 4.0
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
            with torch.autocast("cpu", torch.bfloat16, enabled=_halves(torch.device("cpu"))):
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


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Examples(Protocol):
    """What a mouth learns from."""

    @property
    def crop(self) -> int:
        """Side of its pictures in px."""

    def __len__(self) -> int:
        """How many there are."""

    def batch(self, picks: torch.Tensor) -> Batch:
        """Of the examples picked: image (n, 6, crop, crop) and wanted picture (n, 3, crop, crop),
        both in 0..1, with audio (n, 32, 16, 16) between them."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Drawn examples. idle: (frames, 6, crop, crop) inputs in 0..1. Of n examples:
    poses (n,) the idle frame, audio (n, 16, 512), pictures uint8 (n, crop, crop, 3) BGR."""

    idle: torch.Tensor
    poses: torch.Tensor
    audio: torch.Tensor
    pictures: npt.NDArray[np.uint8]

    @property
    def crop(self) -> int:
        """Side of its pictures in px."""
        return self.pictures.shape[1]

    def __len__(self) -> int:
        return len(self.poses)

    def batch(self, picks: torch.Tensor) -> Batch:
        """Image, audio and wanted picture of the examples picked."""
        image = self.idle[self.poses[picks]].contiguous(memory_format=torch.channels_last)
        return image, self.audio[picks].reshape(-1, 32, 16, 16), as_tensor(self.pictures, picks)


def as_tensor(pictures: npt.NDArray[np.uint8], picks: torch.Tensor) -> torch.Tensor:
    """Those of the pictures (n, h, w, 3) as floats (picks, 3, h, w) in 0..1."""
    return torch.from_numpy(pictures[picks.numpy()]).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class Pace:
    """How often training tells how it goes, and how often its state is kept."""

    tell_every_s: float = 30.0
    keep_every_s: float = 60.0


class Learner:
    """A mouth that is learning: its network, its optimiser, and the time it spent so far."""

    def __init__(self, crop: int, width: int) -> None:
        self.generator = Generator(crop, width).to(device()).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.generator.parameters(), lr=_MOUTH_RATE, weight_decay=1e-4
        )
        self.spent_s = 0.0
        self.steps = 0

    def step(self, examples: Examples, count: int, weight: torch.Tensor, rate: float) -> float:
        """Learns from ``count`` examples chosen at random; says how wrong it was (weighted L1)."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        given = examples.batch(torch.randint(len(examples), (count,)))
        image, audio, wanted = (part.to(weight.device) for part in given)
        with torch.autocast(weight.device.type, torch.bfloat16, enabled=_halves(weight.device)):
            made = self.generator(image, audio)
        loss = ((made.float() - wanted).abs() * weight).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.steps += 1
        return loss.item()


def device() -> torch.device:
    """The GPU where torch sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def _halves(where: torch.device) -> bool:
    """Does it compute in bfloat16? A processor that does not is many times slower with it."""
    if where.type == "cuda":
        return True
    facts = Path("/proc/cpuinfo")
    return facts.is_file() and "bf16" in facts.read_text(encoding="utf-8", errors="replace")


def train_mouth(
    learner: Learner,
    examples: Examples,
    minutes: float,
    batch: int,
    say: Say,
    *,
    pace: Pace | None = None,
    keep: Callable[[Learner], None] = lambda _: None,
) -> Generator:
    """A generator that paints what it was shown, after ``minutes`` of learning in all, those that
    the learner spent before among them. ``keep`` is given the learner every so often."""
    pace = pace or Pace()
    weight = _weights(examples.crop).to(device())
    losses: list[float] = []
    kept_s = learner.spent_s
    for spent in _clock(learner, minutes * 60, losses, say, pace):
        if learner.spent_s - kept_s > pace.keep_every_s:
            kept_s = learner.spent_s
            keep(learner)
        losses.append(learner.step(examples, batch, weight, _rate(spent)))
    return _settled(learner.generator, examples)


def _clock(
    learner: Learner, duration_s: float, losses: list[float], say: Say, pace: Pace
) -> Iterator[float]:
    """The share of the time that is spent, step after step; tells how it goes meanwhile.

    A pause of the whole process is not time spent: learning goes on where it stood.
    """
    told_s = learner.spent_s
    last = time.monotonic()
    while learner.spent_s < duration_s:
        yield learner.spent_s / duration_s
        now = time.monotonic()
        learner.spent_s += min(now - last, _LONGEST_STEP_S)
        last = now
        if learner.spent_s - told_s > pace.tell_every_s:
            told_s = learner.spent_s
            loss, left_s = np.mean(losses[-100:]), max(0.0, duration_s - told_s)
            say(f"mouth: step {learner.steps}, loss {loss:.4f}, {left_s:.0f} s left")


def _rate(spent: float) -> float:
    """Learning rate: a short rise, then half a cosine down to nothing."""
    return _MOUTH_RATE * min(1.0, spent * 30 + 0.02) * (0.5 + 0.5 * float(np.cos(np.pi * spent)))


@torch.no_grad()
def _settled(generator: Generator, examples: Examples) -> Generator:
    """Batch statistics taken once more with the final weights, in full precision."""
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    generator.train()
    for picks in torch.split(torch.randperm(len(examples))[:640], 32):
        if len(picks) > 1:
            image, audio, _ = examples.batch(picks)
            generator(image.to(device()), audio.to(device()))
    return generator.cpu().eval()


def _weights(crop: int) -> torch.Tensor:
    """The mouth counts more than the cheeks; what is never pasted counts little."""
    x0, y0, x1, y1 = mask_rectangle(crop)
    shown = torch.zeros(crop, crop)
    shown[y0:y1, x0:x1] = 1.0
    return 0.2 + shown * (0.8 + _MOUTH_WEIGHT * near_mouth(crop))


def near_mouth(crop: int) -> torch.Tensor:
    """(crop, crop): 1 in the middle of the mouth, falling off around it."""
    y, x = torch.meshgrid(torch.arange(crop), torch.arange(crop), indexing="ij")
    across, down = (x / crop - 0.5) / 0.2625, (y / crop - 0.45) / 0.2125
    return torch.exp(-(across**2) - down**2)
