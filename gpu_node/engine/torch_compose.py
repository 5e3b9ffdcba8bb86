"""Puts painted mouths into background frames on the device, as gpu_node.compositor does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import SEAM_PX, Compositor
from gpu_node.engine.compose_tables import tables
from gpu_node.engine.faults import is_lost

# BT.601, limited range, in 1 / 2^20, for B, G and R: OpenCV's own numbers.
_Y = (102_760, 528_482, 269_484)
_U = (460_324, -305_135, -155_188)
_V = (-74_448, -385_875, 460_324)
_SHIFT = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DeviceTables:
    """compose_tables.Tables on the device, of frames of ``size``."""

    size: tuple[int, int]
    longest: int
    plain: bool
    at: Tensor
    taps: Tensor
    weights: Tensor
    across: Tensor
    down: Tensor
    boxes: Tensor
    under: Tensor
    seam: int = SEAM_PX


Paste = Callable[[DeviceTables, Tensor, Tensor, Tensor], None]
"""Tables, frames (B,) int64, mouths uint8 (B, crop, crop, 3) BGR, out (B, h * w * 3 / 2) holding
the backgrounds, into which the mouths go."""


class DeviceCompositor:
    """Backgrounds and tables of one avatar, on the device."""

    def __init__(self, avatar: Avatar, compositor: Compositor, device: torch.device) -> None:
        frames = range(len(avatar.frames))
        whole = np.stack([compositor.compose(frame, None).ravel() for frame in frames])
        self.backgrounds = torch.from_numpy(whole).to(device)
        made = tables(avatar)
        moved = {
            name: torch.from_numpy(value).to(device)
            for name, value in vars(made).items()
            if isinstance(value, np.ndarray)
        }
        self.tables = DeviceTables(avatar.size, made.longest, made.plain, **moved)  # type: ignore[arg-type]
        own = TorchPaste(self.tables, avatar.crop)
        self._paste: Paste = own
        if device.type == "cuda":
            self._paste = self._checked(own, avatar.crop)

    def compose(self, frames: Tensor, mouths: Tensor, out: Tensor) -> None:
        """frames (B,) int64, mouths uint8 (B, crop, crop, 3) BGR; out uint8 (B, h * w * 3 / 2)."""
        torch.index_select(self.backgrounds, 0, frames, out=out)
        self._paste(self.tables, frames, mouths, out)

    def _checked(self, own: Paste, crop: int) -> Paste:
        """Triton's kernel, where it makes the picture that torch makes."""
        count = min(4, len(self.backgrounds))
        frames = torch.arange(count, device=self.backgrounds.device)
        shape = (count, crop, crop, 3)
        mouths = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.backgrounds.device)
        try:
            from gpu_node.engine.triton_compose import paste

            wanted, made = self.backgrounds[frames], self.backgrounds[frames]
            own(self.tables, frames, mouths, wanted)
            paste(self.tables, frames, mouths, made)
            off = int((made.int() - wanted.int()).abs().max())
            if off > 1:
                raise ArithmeticError(f"off by {off} levels")
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            if is_lost(error):
                raise
            _log.warning("triton is not used to compose: %s", error)
            return own
        return paste


class TorchPaste:
    """Torch's own operators: about fifteen passes over the box."""

    def __init__(self, tables: DeviceTables, crop: int) -> None:
        """Makes (lengths, longest, crop): a mouth's column times it is that column resized."""
        self._resize = tables.weights.new_empty(0)
        if not tables.plain:
            shape = (len(tables.weights), tables.longest, crop)
            self._resize = tables.weights.new_zeros(shape).scatter_add_(
                2, tables.taps.long(), tables.weights
            )

    def __call__(self, tables: DeviceTables, frames: Tensor, mouths: Tensor, out: Tensor) -> None:
        """See Paste."""
        x, y, wide, high = tables.boxes[frames].long().unbind(1)
        mouth = mouths.int() if tables.plain else self._resized(mouths, wide, high)
        share = torch.minimum(tables.across[wide][:, None], tables.down[high][:, :, None])
        share = (share * 256 // tables.seam)[..., None]
        mixed = (mouth * share + tables.under[frames].int() * (256 - share)) >> 8
        rows, columns = y[:, None] + tables.at[high], x[:, None] + tables.at[wide]
        width, height = tables.size
        _write(out, 0, width, rows, columns, _plane(mixed, _Y, 16))
        corner = mixed[:, ::2, ::2]  # OpenCV takes the colour of each four pixels from the first
        rows, columns = rows[:, ::2] // 2, columns[:, ::2] // 2
        after = width * height
        _write(out, after, width // 2, rows, columns, _plane(corner, _U, 128))
        after += after // 4
        _write(out, after, width // 2, rows, columns, _plane(corner, _V, 128))

    def _resized(self, mouths: Tensor, wide: Tensor, high: Tensor) -> Tensor:
        planes = mouths.permute(0, 3, 1, 2).float()
        down = self._resize[high][:, None] @ planes
        made = down @ self._resize[wide][:, None].transpose(2, 3)
        return (made + 0.5).floor_().clamp_(0, 255).int().permute(0, 2, 3, 1)


def _write(
    out: Tensor, start: int, width: int, rows: Tensor, columns: Tensor, plane: Tensor
) -> None:
    place = start + rows[:, :, None] * width + columns[:, None]
    out.scatter_(1, place.flatten(1), plane.flatten(1))


def _plane(bgr: Tensor, factors: tuple[int, int, int], offset: int) -> Tensor:
    b, g, r = bgr.unbind(-1)
    half = 1 << (_SHIFT - 1)
    made = b * factors[0] + g * factors[1] + r * factors[2] + (offset << _SHIFT) + half
    return (made >> _SHIFT).to(torch.uint8)
