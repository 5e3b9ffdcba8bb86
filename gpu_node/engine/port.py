"""What the scheduler needs of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


class EngineError(Exception):
    """The engine cannot run here; the message says what is missing."""


@dataclass(frozen=True, eq=False)
class MouthJob:
    """One frame to paint: ``frame`` is the idle frame it goes into, ``audio`` (16, 512)."""

    avatar: Avatar
    frame: int
    audio: Array


class Engine(Protocol):
    """Not thread safe: one caller at a time."""

    name: str

    def prepare(self, avatar: Avatar) -> None:
        """Loads an avatar's weights and all that does not depend on speech. Again is free."""

    def encode(self, avatar: Avatar, window: Array) -> Array:
        """One mel window (80, 16) to its feature (512,), by that avatar's ear."""

    def render(self, jobs: Sequence[MouthJob]) -> list[Image]:
        """The crop of each job, uint8 (crop, crop, 3) BGR, in order; of prepared avatars."""
