"""Every Triton kernel beside torch's own operators, by Triton's interpreter.

Run as a program of its own with TRITON_INTERPRET=1, for Triton reads that when it is imported.
Writes one line a case: its name and the largest difference.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch

from gpu_node.engine.torch_blocks import Block, Eager, fold
from gpu_node.engine.torch_compose import DeviceCompositor
from gpu_node.engine.triton_blocks import TILES, Triton
from gpu_node.engine.triton_compose import paste
from gpu_node.synctalk.blocks import InvertedResidual
from tests.unit.tiny_avatars import avatar, of_one_colour

SIZES = ((2, 9, 13), (1, 8, 16), (1, 3, 5))


def block(ci: int, co: int, stride: int, residual: bool) -> Block:
    """Folded, its statistics not the identity."""
    torch.manual_seed(ci + co)
    made = InvertedResidual(ci, co, stride, residual)
    for _ in range(3):
        made(torch.randn(2, ci, 8, 8))
    return fold(made.eval())


def tell(name: str, made: torch.Tensor, wanted: torch.Tensor) -> None:
    """One line."""
    assert made.shape == wanted.shape, name
    sys.stdout.write(f"{name} {float((made.float() - wanted.float()).abs().max()):.6f}\n")


def blocks() -> None:
    """Expand, 3x3 and project, with stride and residual, at odd sizes."""
    own = Eager()
    for tile in TILES[:2]:
        rival = Triton(tile)
        for batch, height, width in SIZES:
            for stride, residual in ((1, False), (1, True), (2, False)):
                given = block(6, 6 if residual else 10, stride, residual)
                image = torch.randn(batch, height, width, 6)
                hidden = own.expand(image, given.expand, given.expand_bias)
                name = f"{tile.height}x{tile.width}-{batch}x{height}x{width}-{stride}{residual}"
                tell(f"expand-{name}", rival.expand(image, given.expand, given.expand_bias), hidden)
                onto = (image.clone(), image.clone()) if residual else (None, None)
                tell(
                    f"finish-{name}",
                    rival.finish(hidden, given, onto[0]),
                    own.finish(hidden, given, onto[1]),
                )
                tell(f"3x3-{name}", rival.depthwise(hidden, given), own.depthwise(hidden, given))


def ups() -> None:
    """The first expand of an up block, rows gathered, and the last layer's colours."""
    own, rival = Eager(), Triton()
    kept, rows = torch.randn(3, 10, 6, 4), torch.tensor([2, 0])
    weight, low = torch.randn(4, 12), torch.randn(2, 5, 3, 12)
    wanted = own.expand_up(kept, rows, weight, low.clone())
    tell("expand_up", rival.expand_up(kept, rows, weight, low), wanted)
    image, weight, bias = torch.randn(2, 7, 9, 4), torch.randn(4, 3), torch.randn(3)
    tell("colour", rival.colour(image, weight, bias), own.colour(image, weight, bias))


def composed(folder: str) -> None:
    """Boxes of the crop's size, and larger and smaller ones, with a border; small, for the
    interpreter is slow."""
    from pathlib import Path

    from gpu_node.compositor import Compositor

    kinds = {
        "plain": (((40, 40, 32, 32),) * 2, 0),
        "resized": (((40, 40, 32, 36), (20, 10, 44, 40)), 4),
    }
    for name, (boxes, border) in kinds.items():
        made = avatar(Path(folder) / name, of_one_colour((9, 9, 9)), boxes, border=border)
        one = replace(made, crop=32)
        host = Compositor(one)
        device = DeviceCompositor(one, host, torch.device("cpu"))
        random = np.random.default_rng(1)
        mouths = random.integers(0, 256, (2, 32, 32, 3), np.uint8)
        frames = torch.tensor([1, 0])
        out = device.backgrounds[frames].clone()
        paste(device.tables, frames, torch.from_numpy(mouths), out)
        wanted = np.stack([host.compose(int(f), m) for f, m in zip(frames, mouths, strict=True)])
        tell(f"paste-{name}", out, torch.from_numpy(wanted.reshape(2, -1)))


if __name__ == "__main__":
    with torch.inference_mode():
        blocks()
        ups()
        composed(sys.argv[1])
