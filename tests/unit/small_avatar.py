"""Small avatars for tests: packages whose networks are real, and quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gpu_node.synctalk import AudioEncoder, Generator
from ops.avatar.packing import write_frames, write_manifest, write_weights

CROP, WIDTH = 96, 4


def write_package(folder: Path, *, frames: int = 2, seed: int = 1) -> Path:
    """A package of networks that learned nothing; its frames are noise of that seed."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    write_weights(folder, "generator", Generator(CROP, WIDTH))
    write_weights(folder, "audio_encoder", AudioEncoder(WIDTH))
    random = np.random.default_rng(seed)
    write_frames(folder, random.integers(0, 255, (frames, 128, 128, 3), np.uint8))
    fields = {
        "name": folder.name,
        "licence": "Apache-2.0",
        "fps": 25,
        "size": [128, 128],
        "frames": frames,
        "crop": CROP,
        "width": WIDTH,
        "audio_width": WIDTH,
        "trained": {},
        "held_out": {},
    }
    write_manifest(folder, fields, [(16, 16, CROP, CROP)] * frames)
    return folder
