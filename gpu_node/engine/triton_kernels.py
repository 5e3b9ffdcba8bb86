# ruff: noqa: N803, N806
# mypy: disable-error-code="no-untyped-call, untyped-decorator, no-untyped-def"
"""The block's kernels, in Triton: what a layer makes stays on chip until the next needs it.

Pictures are (B, H, W, C), contiguous. A program owns a tile of BH x BW pixels and a run of
channels; products accumulate in float32, whatever the tensors' type.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(H: tl.constexpr, W: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr):
    """Which picture, and which of its pixels: picture, y, x, inside."""
    across: tl.constexpr = (W + BW - 1) // BW
    down: tl.constexpr = (H + BH - 1) // BH
    program = tl.program_id(0)
    picture = program // (across * down)
    tile = program % (across * down)
    each = tl.arange(0, BH * BW)
    y = tile // across * BH + each // BW
    x = tile % across * BW + each % BW
    return picture, y, x, (y < H) & (x < W)


@triton.jit
def expand(
    image, rows, weight, bias, low, out,
    H: tl.constexpr, W: tl.constexpr, CI: tl.constexpr, HIDDEN: tl.constexpr,
    GATHER: tl.constexpr, UP: tl.constexpr,
    BH: tl.constexpr, BW: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """relu(image @ weight + bias); with UP, the half-size ``low``, doubled, in the bias's place.

    With GATHER the picture is row ``rows[picture]`` of ``image``, read where it lies.
    """
    picture, y, x, inside = _tile(H, W, BH, BW)
    pixel = y * W + x
    source = picture.to(tl.int64)
    if GATHER:
        source = tl.load(rows + picture).to(tl.int64)
    base = image + source * (H * W * CI)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    wanted = n < HIDDEN
    total = tl.zeros((BH * BW, BN), tl.float32)
    for first in range(0, CI, BK):
        k = first + tl.arange(0, BK)
        given = k < CI
        a = tl.load(base + pixel[:, None] * CI + k[None, :],
                    mask=inside[:, None] & given[None, :], other=0.0)  # fmt: skip
        w = tl.load(weight + k[:, None] * HIDDEN + n[None, :],
                    mask=given[:, None] & wanted[None, :], other=0.0)  # fmt: skip
        total = tl.dot(a, w, total, input_precision="ieee")
    if UP:
        total += _doubled(
            low + picture.to(tl.int64) * ((H // 2) * (W // 2) * HIDDEN),
            y, x, n, inside, wanted, H, W, HIDDEN,
        )  # fmt: skip
    else:
        total += tl.load(bias + n, mask=wanted, other=0.0).to(tl.float32)[None, :]
    made = tl.maximum(total, 0.0).to(out.dtype.element_ty)
    place = out + picture.to(tl.int64) * (H * W * HIDDEN)
    tl.store(place + pixel[:, None] * HIDDEN + n[None, :], made,
             mask=inside[:, None] & wanted[None, :])  # fmt: skip


@triton.jit
def _doubled(base, y, x, n, inside, wanted,
             H: tl.constexpr, W: tl.constexpr, C: tl.constexpr):  # fmt: skip
    """Pixels y, x of a picture of H/2 x W/2 doubled bilinearly, corners aligned."""
    h: tl.constexpr = H // 2
    w: tl.constexpr = W // 2
    at_y = y.to(tl.float32) * ((h - 1) / (H - 1))
    at_x = x.to(tl.float32) * ((w - 1) / (W - 1))
    y0 = tl.minimum(at_y.to(tl.int32), h - 1)
    x0 = tl.minimum(at_x.to(tl.int32), w - 1)
    y1 = tl.minimum(y0 + 1, h - 1)
    x1 = tl.minimum(x0 + 1, w - 1)
    fy = at_y - y0
    fx = at_x - x0
    mask = inside[:, None] & wanted[None, :]
    total = (1 - fy)[:, None] * (1 - fx)[:, None] * _at(base, y0 * w + x0, n, C, mask)
    total += (1 - fy)[:, None] * fx[:, None] * _at(base, y0 * w + x1, n, C, mask)
    total += fy[:, None] * (1 - fx)[:, None] * _at(base, y1 * w + x0, n, C, mask)
    total += fy[:, None] * fx[:, None] * _at(base, y1 * w + x1, n, C, mask)
    return total


@triton.jit
def _at(base, pixel, n, C: tl.constexpr, mask):
    return tl.load(base + pixel[:, None] * C + n[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _neighbours(
    base, taps, taps_bias, y, x, inside, k, given,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, STRIDE: tl.constexpr,
    PIXELS: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """relu of the depthwise 3x3 at the output's pixels y, x and channels k, in float32."""
    total = tl.zeros((PIXELS, BK), tl.float32)
    for tap in tl.static_range(9):
        at_y = y * STRIDE + tap // 3 - 1
        at_x = x * STRIDE + tap % 3 - 1
        there = inside & (at_y >= 0) & (at_y < H) & (at_x >= 0) & (at_x < W)
        seen = _at(base, at_y * W + at_x, k, C, there[:, None] & given[None, :])
        total += seen * tl.load(taps + tap * C + k, mask=given, other=0.0).to(tl.float32)[None, :]
    total += tl.load(taps_bias + k, mask=given, other=0.0).to(tl.float32)[None, :]
    return tl.maximum(total, 0.0)


@triton.jit
def finish(
    hidden, taps, taps_bias, weight, bias, out,
    H: tl.constexpr, W: tl.constexpr, HIDDEN: tl.constexpr, CO: tl.constexpr,
    STRIDE: tl.constexpr, BIAS: tl.constexpr, ADD: tl.constexpr,
    BH: tl.constexpr, BW: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """relu(depthwise 3x3) @ weight (+ bias); with ADD, onto what ``out`` holds."""
    OH: tl.constexpr = (H + STRIDE - 1) // STRIDE
    OW: tl.constexpr = (W + STRIDE - 1) // STRIDE
    picture, y, x, inside = _tile(OH, OW, BH, BW)
    base = hidden + picture.to(tl.int64) * (H * W * HIDDEN)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    wanted = n < CO
    total = tl.zeros((BH * BW, BN), tl.float32)
    for first in range(0, HIDDEN, BK):
        k = first + tl.arange(0, BK)
        given = k < HIDDEN
        seen = _neighbours(base, taps, taps_bias, y, x, inside, k, given,
                           H, W, HIDDEN, STRIDE, BH * BW, BK)  # fmt: skip
        w = tl.load(weight + k[:, None] * CO + n[None, :],
                    mask=given[:, None] & wanted[None, :], other=0.0)  # fmt: skip
        total = tl.dot(seen.to(w.dtype), w, total, input_precision="ieee")
    if BIAS:
        total += tl.load(bias + n, mask=wanted, other=0.0).to(tl.float32)[None, :]
    mask = inside[:, None] & wanted[None, :]
    place = out + picture.to(tl.int64) * (OH * OW * CO) + (y * OW + x)[:, None] * CO + n[None, :]
    if ADD:
        total += tl.load(place, mask=mask, other=0.0).to(tl.float32)
    tl.store(place, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def depthwise(
    hidden, taps, taps_bias, out,
    H: tl.constexpr, W: tl.constexpr, HIDDEN: tl.constexpr, STRIDE: tl.constexpr,
    BH: tl.constexpr, BW: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """relu(depthwise 3x3), for a block whose projection is too wide to follow on chip."""
    OH: tl.constexpr = (H + STRIDE - 1) // STRIDE
    OW: tl.constexpr = (W + STRIDE - 1) // STRIDE
    picture, y, x, inside = _tile(OH, OW, BH, BW)
    base = hidden + picture.to(tl.int64) * (H * W * HIDDEN)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    given = k < HIDDEN
    seen = _neighbours(base, taps, taps_bias, y, x, inside, k, given,
                       H, W, HIDDEN, STRIDE, BH * BW, BK)  # fmt: skip
    place = out + picture.to(tl.int64) * (OH * OW * HIDDEN)
    tl.store(place + (y * OW + x)[:, None] * HIDDEN + k[None, :], seen.to(out.dtype.element_ty),
             mask=inside[:, None] & given[None, :])  # fmt: skip


@triton.jit
def colour(image, weight, bias, out, pixels, C: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr):
    """uint8(255 sigmoid(image @ weight + bias) + 0.5), three colours a pixel."""
    pixel = (tl.program_id(0) * BP + tl.arange(0, BP)).to(tl.int64)
    inside = pixel < pixels
    c = tl.arange(0, BC)
    mask = inside[:, None] & (c < C)[None, :]
    seen = tl.load(image + pixel[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
    for channel in tl.static_range(3):
        w = tl.load(weight + c * 3 + channel, mask=c < C, other=0.0).to(tl.float32)
        value = tl.sum(seen * w[None, :], axis=1) + tl.load(bias + channel).to(tl.float32)
        level = 255.0 / (1.0 + tl.exp(-value)) + 0.5
        tl.store(out + pixel * 3 + channel, level.to(tl.int32).to(tl.uint8), mask=inside)
