# ruff: noqa: N803, N806
# mypy: disable-error-code="no-untyped-call, untyped-decorator, no-untyped-def"
"""Composing in one pass: resized, mixed at the seam and turned to I420 without leaving the chip."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gpu_node.engine.torch_compose import DeviceTables

_HIGH, _WIDE = 4, 32  # of a program, in quads of 2 x 2 pixels


@triton.jit
def _resized(mouth, taps, weights, row, column, channel, inside,
             CROP: tl.constexpr, PLAIN: tl.constexpr):  # fmt: skip
    """One colour of the mouth at the tables' entries ``row`` and ``column``, 0..255."""
    if PLAIN:
        y = tl.load(taps + row * 4 + 1, mask=inside, other=0)
        x = tl.load(taps + column * 4 + 1, mask=inside, other=0)
        return tl.load(mouth + (y * CROP + x) * 3 + channel, mask=inside, other=0).to(tl.int32)
    total = tl.zeros_like(row).to(tl.float32)
    for down in tl.static_range(4):
        y = tl.load(taps + row * 4 + down, mask=inside, other=0)
        line = tl.zeros_like(total)
        for across in tl.static_range(4):
            x = tl.load(taps + column * 4 + across, mask=inside, other=0)
            seen = tl.load(mouth + (y * CROP + x) * 3 + channel, mask=inside, other=0)
            line += seen.to(tl.float32) * tl.load(weights + column * 4 + across, mask=inside,
                                                  other=0.0)  # fmt: skip
        total += line * tl.load(weights + row * 4 + down, mask=inside, other=0.0)
    return tl.minimum(tl.maximum(tl.floor(total + 0.5), 0.0), 255.0).to(tl.int32)


@triton.jit
def _plane(b, g, r, OF_B: tl.constexpr, OF_G: tl.constexpr, OF_R: tl.constexpr,
           OFFSET: tl.constexpr):  # fmt: skip
    """BT.601, limited range, in 1 / 2^20 and rounded, as OpenCV has it."""
    return ((b * OF_B + g * OF_G + r * OF_R + (OFFSET << 20) + (1 << 19)) >> 20).to(tl.uint8)


@triton.jit
def patch(
    frames, mouths, boxes, at, taps, weights, across, down, under, out,
    WIDTH: tl.constexpr, HEIGHT: tl.constexpr, CROP: tl.constexpr, LONGEST: tl.constexpr,
    PLAIN: tl.constexpr, SEAM: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Writes the boxes of ``out`` (B, WIDTH * HEIGHT * 3 / 2), which holds the backgrounds."""
    SIDE: tl.constexpr = LONGEST // 2
    TILES_ACROSS: tl.constexpr = (SIDE + WIDE - 1) // WIDE
    TILES: tl.constexpr = (SIDE + HIGH - 1) // HIGH * TILES_ACROSS
    picture = (tl.program_id(0) // TILES).to(tl.int64)
    tile = tl.program_id(0) % TILES
    each = tl.arange(0, HIGH * WIDE)
    quad_y = tile // TILES_ACROSS * HIGH + each // WIDE
    quad_x = tile % TILES_ACROSS * WIDE + each % WIDE
    frame = tl.load(frames + picture)
    left = tl.load(boxes + frame * 4)
    top = tl.load(boxes + frame * 4 + 1)
    wide = tl.load(boxes + frame * 4 + 2) * LONGEST
    high = tl.load(boxes + frame * 4 + 3) * LONGEST
    mouth = mouths + picture * (CROP * CROP * 3)
    back = under + frame * (LONGEST * LONGEST * 3)
    whole = out + picture * (WIDTH * HEIGHT * 3 // 2)
    for corner in tl.static_range(4):
        y = quad_y * 2 + corner // 2
        x = quad_x * 2 + corner % 2
        inside = (quad_y < SIDE) & (quad_x < SIDE)
        row, column = high + y, wide + x
        inside &= tl.load(at + row, mask=inside, other=-1) == y  # beyond the box's end: no pixel
        inside &= tl.load(at + column, mask=inside, other=-1) == x
        share = tl.minimum(
            tl.load(across + column, mask=inside, other=0),
            tl.load(down + row, mask=inside, other=0),
        ) * 256 // SEAM  # fmt: skip
        place = back + (y * LONGEST + x) * 3
        b = _mixed(mouth, taps, weights, row, column, 0, inside, place, share, CROP, PLAIN)
        g = _mixed(mouth, taps, weights, row, column, 1, inside, place, share, CROP, PLAIN)
        r = _mixed(mouth, taps, weights, row, column, 2, inside, place, share, CROP, PLAIN)
        luma = _plane(b, g, r, 102760, 528482, 269484, 16)
        tl.store(whole + (top + y) * WIDTH + left + x, luma, mask=inside)
        if corner == 0:  # OpenCV takes the colour of each four pixels from the first
            half = WIDTH * HEIGHT + (top + y) // 2 * (WIDTH // 2) + (left + x) // 2
            tl.store(whole + half, _plane(b, g, r, 460324, -305135, -155188, 128), mask=inside)
            tl.store(whole + half + WIDTH * HEIGHT // 4,
                     _plane(b, g, r, -74448, -385875, 460324, 128), mask=inside)  # fmt: skip


@triton.jit
def _mixed(mouth, taps, weights, row, column, channel, inside, place, share,
           CROP: tl.constexpr, PLAIN: tl.constexpr):  # fmt: skip
    made = _resized(mouth, taps, weights, row, column, channel, inside, CROP, PLAIN)
    behind = tl.load(place + channel, mask=inside, other=0).to(tl.int32)
    return (made * share + behind * (256 - share)) >> 8


def paste(tables: DeviceTables, frames: Tensor, mouths: Tensor, out: Tensor) -> None:
    """Pastes the mouths, uint8 (B, crop, crop, 3), into the backgrounds that ``out`` holds."""
    width, height = tables.size
    side = tables.longest // 2
    tiles = triton.cdiv(side, _HIGH) * triton.cdiv(side, _WIDE)
    patch[(len(frames) * tiles,)](
        frames, mouths, tables.boxes, tables.at, tables.taps, tables.weights,
        tables.across, tables.down, tables.under, out,
        width, height, mouths.shape[1], tables.longest, tables.plain, tables.seam, _HIGH, _WIDE,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
