"""Half precision where an avatar's pictures bear it."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gpu_node.avatars.package import Avatar
from gpu_node.engine.torch_blocks import Eager
from gpu_node.engine.torch_graph import Painter
from gpu_node.features import FEATURES, LOOKAHEAD_FRAMES
from gpu_node.synctalk import Generator

LEAST_PSNR_DB = 40.0
_log = logging.getLogger(__name__)


def precision(generator: Generator, avatar: Avatar, device: torch.device) -> torch.dtype:
    """The type in which an avatar is painted: half on a GPU, unless its first frame then differs
    from full precision by more than 40 dB PSNR; its layers may exceed what half holds (65,504)."""
    if device.type != "cuda":
        return torch.float32
    wanted = sample(generator, avatar, device, torch.float32)
    made = sample(generator, avatar, device, torch.float16)
    found = psnr_db(made, wanted)
    if found >= LEAST_PSNR_DB:
        return torch.float16
    _log.warning(
        "avatar %s: painted in full precision, half differs by %.1f dB", avatar.name, found
    )
    return torch.float32


def psnr_db(made: Tensor, wanted: Tensor) -> float:
    """Of pictures in 0..1; minus infinity where a number is none."""
    noise = float((made.double() - wanted.double()).square().mean())
    if noise != noise:
        return float("-inf")
    return float(-10 * np.log10(max(noise, 1e-20)))


def sample(
    generator: Generator, avatar: Avatar, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The first frame's mouth to two sounds, the ``speech`` below: (2, crop, crop, 3) in 0..1."""
    painter = Painter(generator, Eager(), device, dtype)
    seen = painter.see(torch.from_numpy(avatar.cut(0))[None].to(device))
    rows = torch.zeros(2, dtype=torch.int64, device=device)
    return painter.shades(seen, rows, torch.from_numpy(speech()).to(device)).cpu()


def speech() -> npt.NDArray[np.float32]:
    """Features (2, 16, 512): none, and some by lot."""
    audio = np.random.default_rng(0).normal(size=(2, 2 * LOOKAHEAD_FRAMES, FEATURES))
    audio[0] = 0.0
    return audio.astype(np.float32)
