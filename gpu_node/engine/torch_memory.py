"""How much of the GPU's memory the avatars' encoded frames may take."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_node.avatars.package import Avatar, AvatarError

_GPU_SHARE = 0.5
"""Of what is free at the start: the rest is for weights, graphs and the batch itself."""
_CPU_BYTES = 512 * 2**20
_log = logging.getLogger(__name__)


class Budget:
    """Bytes that the avatars share. One may take half of what is left, so that later ones find
    some too."""

    def __init__(self, total: int) -> None:
        self.left = total

    @classmethod
    def of(cls, device: torch.device) -> Budget:
        """Derived from what the device has free now."""
        if device.type != "cuda":
            return cls(_CPU_BYTES)
        free, _ = torch.cuda.mem_get_info(device)
        return cls(int(free * _GPU_SHARE))

    def take(self, wanted: int, each: int) -> int:
        """How many of ``wanted`` rows of ``each`` bytes may be had; they count as taken."""
        granted = max(0, min(wanted, self.left // 2 // each))
        self.left -= granted * each
        return granted

    def give_back(self, taken: int) -> None:
        """Bytes that are free again."""
        self.left += taken


class Kept:
    """What the generator's ``see`` made of the first frames, on the device: ``levels``, each
    (rows, H, W, C). Rows from ``frames`` on are for frames that are seen anew in each batch; they
    count in no budget. What was taken from it is given back when this is collected.

    A prefix is kept, no least recently used set: play goes there and back, and would always have
    just lost what it needs next.
    """

    def __init__(
        self,
        avatar: Avatar,
        shapes: Sequence[tuple[int, int, int]],
        budget: Budget,
        spare: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._budget = budget
        self.each = sum(h * w * c for h, w, c in shapes) * dtype.itemsize
        count = len(avatar.frames)
        self.frames = budget.take(count, self.each)
        while True:
            self.spare = 0 if self.frames == count else spare
            rows = self.frames + self.spare
            try:
                self.levels: list[Tensor] = [
                    torch.empty(rows, *shape, device=device, dtype=dtype) for shape in shapes
                ]
                break
            except torch.cuda.OutOfMemoryError as error:
                self._halve(avatar, error)
        weakref.finalize(self, budget.give_back, self.frames * self.each)

    def _halve(self, avatar: Avatar, error: Exception) -> None:
        if self.frames == 0:
            raise AvatarError(
                f"avatar {avatar.name!r}: does not fit into the GPU's memory beside those already "
                "loaded; give this worker fewer avatars"
            ) from error
        fewer = self.frames // 2
        self._budget.give_back((self.frames - fewer) * self.each)
        self.frames = fewer
        _log.warning("avatar %s: the GPU is full; %d encoded frames kept", avatar.name, fewer)

    def put(self, first: int, seen: Sequence[Tensor]) -> None:
        """Rows from ``first`` on."""
        for level, fresh in zip(self.levels, seen, strict=True):
            level[first : first + len(fresh)].copy_(fresh)
