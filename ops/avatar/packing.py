"""Writes an avatar's package: weights in half precision, the idle loop, the manifest."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file
from torch import nn

from gpu_node.avatars.package import MANIFEST

_QUALITY = 92
_STAMP = (2026, 1, 1, 0, 0, 0)  # one date in every archive: the same frames give the same file
FILES = {
    "generator": "generator.safetensors",
    "audio_encoder": "audio_encoder.safetensors",
    "frames": "frames.zip",
}


def write_weights(target: Path, role: str, model: nn.Module) -> None:
    """The model's state as safetensors, floating values in half precision."""
    tensors = {
        key: value.contiguous().half() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    file = target / FILES[role]
    save_file(tensors, file)
    file.chmod(0o644)


def write_frames(target: Path, frames: npt.NDArray[np.uint8]) -> None:
    """The idle loop (n, h, w, 3) BGR as JPEGs in a zip, numbered from 0."""
    with zipfile.ZipFile(target / FILES["frames"], "w", zipfile.ZIP_STORED) as archive:
        for index, frame in enumerate(frames):
            _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            archive.writestr(zipfile.ZipInfo(f"{index:04d}.jpg", _STAMP), jpeg.tobytes())


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
