"""Is an avatar fit to be served? Every file, number and network is tried."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from gpu_node.avatars import Avatar, AvatarError, load_avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, FrameJob
from gpu_node.features import COLUMNS, FEATURES, LOOKAHEAD_FRAMES, N_MELS

_LEAST_SPREAD = 1.0


def load_named(name_or_folder: str) -> Avatar:
    """The avatar that comes with the worker, or the one in that folder. Raises AvatarError."""
    folder = Path(name_or_folder)
    if "/" in name_or_folder or (folder / "manifest.json").is_file():
        return load_avatar(folder)
    return load_avatar(name_or_folder)


def inspect(name_or_folder: str, engine: Engine) -> dict[str, Any]:
    """What was found. Raises AvatarError at the first thing that is wrong."""
    began = time.monotonic()
    avatar = load_named(name_or_folder)
    load_s = time.monotonic() - began
    parameters = {
        "generator": _finite(avatar.generator_path),
        "audio_encoder": _finite(avatar.audio_encoder_path),
    }
    began = time.monotonic()
    engine.prepare(avatar, Compositor(avatar))
    prepare_s = time.monotonic() - began
    frame_ms = _render(avatar, engine)
    width, height = avatar.size
    boxes = avatar.boxes
    return {
        "name": avatar.name,
        "folder": str(avatar.path),
        "licence": avatar.manifest["licence"],
        "size": f"{width} x {height}",
        "frames": len(avatar.frames),
        "network": f"crop {avatar.crop}, width {avatar.width}, border {avatar.border}",
        "parameters": parameters,
        "box": f"{boxes[:, 2].min()} to {boxes[:, 2].max()} px, even, inside every frame",
        "disk_mib": round(sum(f.stat().st_size for f in avatar.path.iterdir()) / 2**20, 1),
        "load_s": round(load_s, 2),
        "prepare_s": round(prepare_s, 2),
        "frame_ms": round(frame_ms, 1),
        "engine": engine.name,
        "trained": avatar.manifest["trained"],
        "held_out": avatar.manifest["held_out"],
    }


def _finite(file: Path) -> int:
    """How many values the file holds. Raises AvatarError where one is no number."""
    count = 0
    for key, value in load_file(file).items():
        bad = value.size - int(np.isfinite(value).sum())
        if bad:
            raise AvatarError(
                f"{file}: {key} has {bad} of {value.size} values that are NaN or infinite; "
                "import it again from a checkpoint that is whole"
            )
        count += value.size
    return count


def _render(avatar: Avatar, engine: Engine) -> float:
    """One frame, as a session asks for it; how long the second one takes, in ms."""
    window = np.zeros((N_MELS, COLUMNS), np.float32)
    features = engine.encode(avatar, [window] * 2 * LOOKAHEAD_FRAMES)
    audio = np.stack(features)
    if audio.shape != (2 * LOOKAHEAD_FRAMES, FEATURES) or not np.isfinite(audio).all():
        raise AvatarError(f"{avatar.audio_encoder_path}: what it hears is no number; import again")
    job = FrameJob(avatar, 0, audio)
    picture = engine.render([job])[0]
    began = time.monotonic()
    engine.render([job])
    took_ms = (time.monotonic() - began) * 1e3
    width, height = avatar.size
    if picture.shape != (height * 3 // 2, width):
        raise AvatarError(f"{avatar.path}: it paints {picture.shape}, not {width} x {height}")
    x, y, w, h = avatar.box(0)
    if picture[y : y + h, x : x + w].std() < _LEAST_SPREAD:
        raise AvatarError(
            f"{avatar.generator_path}: it paints one flat colour; train it longer or import again"
        )
    return took_ms
