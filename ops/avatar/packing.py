"""Writes an avatar's package: weights in half precision, the idle loop, the manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn

from gpu_node.avatars.package import MANIFEST, AvatarError

JPEG, WEBP = ".jpg", ".webp"
_ENCODING = {
    JPEG: [cv2.IMWRITE_JPEG_QUALITY, 92],
    WEBP: [cv2.IMWRITE_WEBP_QUALITY, 90],
}
"""WebP is less than half as large and decodes in 5 ms where JPEG takes 2.5 (720p)."""
_STAMP = (2026, 1, 1, 0, 0, 0)  # one date in every archive: the same frames give the same file
FILES = {
    "generator": "generator.safetensors",
    "audio_encoder": "audio_encoder.safetensors",
    "frames": "frames.zip",
}


@contextmanager
def new_package(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `target` only when all went well.

    Raises AvatarError where `target` is a folder with something else in it.
    """
    check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        yield made
        if target.exists():
            target.rename(Path(scratch) / "old")
        made.rename(target)


def check_target(target: Path) -> None:
    """Raises AvatarError where a package cannot be written there without harm."""
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not (target / MANIFEST).is_file()):
        raise AvatarError(f"{target}: holds something else than an avatar; name another folder")


def write_weights(target: Path, role: str, model: nn.Module) -> None:
    """The model's state as safetensors, floating values in half precision where they fit."""
    tensors = {key: _half(value).contiguous() for key, value in model.state_dict().items()}
    file = target / FILES[role]
    save_file(tensors, file)
    file.chmod(0o644)


def _half(value: torch.Tensor) -> torch.Tensor:
    half = value.half() if value.is_floating_point() else value
    return half if torch.isfinite(half).all() else value


def write_frames(target: Path, frames: npt.NDArray[np.uint8], kind: str = JPEG) -> None:
    """The idle loop (n, h, w, 3) BGR as JPEG or WEBP pictures in a zip, numbered from 0."""
    with zipfile.ZipFile(target / FILES["frames"], "w", zipfile.ZIP_STORED) as archive:
        for index, frame in enumerate(frames):
            _, data = cv2.imencode(kind, frame, _ENCODING[kind])
            archive.writestr(zipfile.ZipInfo(f"{index:04d}{kind}", _STAMP), data.tobytes())


def copy_weights(target: Path, role: str, source: Path) -> None:
    """Weights that are safetensors already, as they are."""
    shutil.copyfile(source, target / FILES[role])


def write_manifest(
    target: Path, fields: Mapping[str, Any], boxes: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The manifest beside the files it names, with their digests; returns it."""
    files = {
        role: {"path": path, "sha256": hashlib.sha256((target / path).read_bytes()).hexdigest()}
        for role, path in FILES.items()
    }
    manifest = {**fields, "files": files, "boxes": [list(box) for box in boxes]}
    lines = json.dumps({**manifest, "boxes": "BOXES"}, indent=1)
    rows = ",\n  ".join(json.dumps(box) for box in manifest["boxes"])
    (target / MANIFEST).write_text(lines.replace('"BOXES"', f"[\n  {rows}\n ]") + "\n")
    return manifest
