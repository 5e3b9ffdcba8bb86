"""The Kernels of torch_blocks, run by Triton."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from gpu_node.engine import triton_kernels
from gpu_node.engine.torch_blocks import Block, project

_WIDEST = 64
"""Channels out that a program holds at once: 128 would not fit into an A10G's registers, and in two
runs the 3x3 would be done twice."""
_SMALLEST = 16  # of a side of tl.dot
_COLOUR_PIXELS = 256


@dataclass(frozen=True)
class Tile:
    """What a program works on: pixels, channels summed at once, warps.

    One stage only: Triton would keep nine shifted tiles a stage in shared memory, 150 KB of it,
    and most GPUs have 100.
    """

    height: int
    width: int
    channels: int
    warps: int

    @property
    def options(self) -> dict[str, Any]:
        """For the launch."""
        return {
            "BH": self.height,
            "BW": self.width,
            "num_warps": self.warps,
            "num_stages": 1,
            "enable_fp_fusion": True,
        }


TILES = (Tile(8, 8, 32, 4), Tile(8, 16, 16, 4), Tile(8, 16, 32, 8))
"""At 128 hidden channels in half precision: 177, 168 and 200 registers a thread on sm_86, none of
them spilled, and 4 to 8 KB of shared memory."""


class Triton:
    """Each result in one pass over memory; with ``fused`` off, the 3x3 apart from its project."""

    def __init__(self, tile: Tile = TILES[0], fused: bool = True) -> None:
        self._tile = tile
        self._widest = _WIDEST if fused else 0

    def expand(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See Kernels."""
        return self._expand(image, None, weight, bias, None, image.shape[0])

    def expand_up(self, kept: Tensor, rows: Tensor, weight: Tensor, low: Tensor) -> Tensor:
        """See Kernels."""
        return self._expand(kept, rows, weight, None, low, low.shape[0])

    def _expand(
        self,
        image: Tensor,
        rows: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        low: Tensor | None,
        count: int,
    ) -> Tensor:
        _, h, w, ci = image.shape
        hidden = weight.shape[1]
        out = image.new_empty(count, h, w, hidden)
        columns = min(64, _power(hidden))
        triton_kernels.expand[(count * self._tiles(h, w), triton.cdiv(hidden, columns))](
            image, rows, weight, bias, low, out, h, w, ci, hidden,
            GATHER=rows is not None, UP=low is not None,
            BK=min(self._tile.channels, _power(ci)), BN=columns, **self._tile.options,
        )  # fmt: skip
        return out

    def finish(self, hidden: Tensor, block: Block, image: Tensor | None) -> Tensor:
        """See Kernels."""
        count, h, w, channels = hidden.shape
        co = block.project.shape[1]
        if co > self._widest:
            return project(self.depthwise(hidden, block), block, image)
        high, wide = -(-h // block.stride), -(-w // block.stride)
        out = hidden.new_empty(count, high, wide, co) if image is None else image
        triton_kernels.finish[(count * self._tiles(high, wide), 1)](
            hidden, block.taps, block.taps_bias, block.project, block.project_bias, out,
            h, w, channels, co, block.stride,
            BIAS=block.project_bias is not None, ADD=image is not None,
            BK=min(self._tile.channels, _power(channels)), BN=_power(co), **self._tile.options,
        )  # fmt: skip
        return out

    def depthwise(self, hidden: Tensor, block: Block) -> Tensor:
        """relu of the 3x3."""
        count, h, w, channels = hidden.shape
        high, wide = -(-h // block.stride), -(-w // block.stride)
        out = hidden.new_empty(count, high, wide, channels)
        run = min(self._tile.channels, _power(channels))
        triton_kernels.depthwise[(count * self._tiles(high, wide), triton.cdiv(channels, run))](
            hidden, block.taps, block.taps_bias, out, h, w, channels, block.stride,
            BK=run, **self._tile.options,
        )  # fmt: skip
        return out

    def colour(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See Kernels."""
        channels = image.shape[-1]
        pixels = image.numel() // channels
        out = torch.empty(*image.shape[:-1], 3, dtype=torch.uint8, device=image.device)
        triton_kernels.colour[(triton.cdiv(pixels, _COLOUR_PIXELS),)](
            image, weight, bias, out, pixels, channels,
            BP=_COLOUR_PIXELS, BC=_power(channels), enable_fp_fusion=True,
        )  # fmt: skip
        return out

    def _tiles(self, height: int, width: int) -> int:
        across = triton.cdiv(width, self._tile.width)
        return int(across * triton.cdiv(height, self._tile.height))


def _power(channels: int) -> int:
    return max(_SMALLEST, int(triton.next_power_of_2(channels)))
