"""What the scheduler needs of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


class EngineError(Exception):
    """The engine cannot run here; the message says what is missing."""


@dataclass(frozen=True, eq=False)
class FrameJob:
    """A picture to make: background ``frame`` with the mouth of ``audio``, features (16, 512)."""

    avatar: Avatar
    frame: int
    audio: Array


@dataclass(frozen=True)
class Timing:
    """What the last ``render`` spent on the clock, all of its jobs together."""

    network_s: float
    composition_s: float


class Engine(Protocol):
    """``encode`` and ``render`` are called by as many threads at once as ``callers`` says; where
    that is more than one, a batch gains nothing, and each is given one picture at a time.
    ``prepare`` may run in another thread beside them, and must not make them wait.

    An engine may keep a ``last_timing: Timing`` of its caller's last ``render``; the metrics then
    tell its stages apart. It may raise ``faults.EngineLost`` from any call: its device is gone for
    good.
    """

    name: str
    callers: int

    def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """Loads an avatar's weights and what of it does not depend on speech. Again is free.

        Raises AvatarError for weights of another network or size.
        """

    def encode(self, avatar: Avatar, windows: Sequence[Array]) -> list[Array]:
        """Mel windows (80, 16), of whatever sessions, to their features (512,), in order."""

    def render(self, jobs: Sequence[FrameJob]) -> list[Image]:
        """The picture of each job, uint8 (h * 3 / 2, w) I420, in order; of prepared avatars."""

    def forget(self, avatar: Avatar) -> None:
        """Lets go of all that ``prepare`` loaded."""

    def close(self) -> None:
        """Lets go of everything; the engine is not used afterwards."""
