"""Loads and checks avatar packages; needs no torch."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from gpu_node.avatars.crops import cut

MANIFEST = "manifest.json"
ROOT = Path(__file__).parent
_FILES = ("generator", "audio_encoder", "frames")
_PICKLED = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class AvatarError(Exception):
    """An avatar cannot be used; the message names the file, the fault and the remedy."""


@dataclass(frozen=True, eq=False)
class Avatar:
    """An avatar in memory. It compares by identity: one object a package and process.

    frames: uint8 (N, H, W, 3) BGR, mouth closed, to be played back and forth.
    boxes: int32 (N, 4), x, y, w, h of the square that is cut out for the generator, all even.
    border: px of the cut-out on each side that the generator does not see.
    crops: uint8 (N, crop, crop, 3), what the generator sees of each frame, where that is not cut
        from `frames`.
    """

    name: str
    path: Path
    fps: int
    size: tuple[int, int]
    crop: int
    width: int
    manifest: dict[str, Any]
    frames: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int32]
    border: int = 0
    crops: npt.NDArray[np.uint8] | None = None

    def box(self, frame: int) -> tuple[int, int, int, int]:
        """x, y, w, h of that frame's cut-out."""
        x, y, w, h = (int(value) for value in self.boxes[frame])
        return x, y, w, h

    def cut(self, frame: int) -> npt.NDArray[np.uint8]:
        """What the generator sees of that frame: uint8 (crop, crop, 3) BGR."""
        if self.crops is not None:
            return np.asarray(self.crops[frame], np.uint8)
        return cut(self.frames[frame], self.box(frame), self.crop, self.border)

    @property
    def generator_path(self) -> Path:
        """The generator's weights."""
        return self.path / str(self.manifest["files"]["generator"]["path"])

    @property
    def audio_encoder_path(self) -> Path:
        """The audio encoder's weights."""
        return self.path / str(self.manifest["files"]["audio_encoder"]["path"])

    @property
    def audio_width(self) -> int:
        """Channels of the audio encoder's first layer (32 as published)."""
        return int(self.manifest["audio_width"])


def available(root: Path | None = None) -> list[str]:
    """Names of the avatars under `root` (those that come with the worker when None)."""
    base = root or ROOT
    return sorted(path.parent.name for path in base.glob(f"*/{MANIFEST}"))


def load_avatar(name_or_path: str | Path, root: Path | None = None) -> Avatar:
    """The avatar of that name under `root`, or in that folder, every file checked.

    Raises AvatarError for an avatar that is not there, and for a damaged, changed or pickled file.
    """
    path = _folder(name_or_path, root)
    manifest = _manifest(path)
    for role in _FILES:
        _check_file(path, role, manifest["files"][role])
    size = (int(manifest["size"][0]), int(manifest["size"][1]))
    frames = _frames(path / manifest["files"]["frames"]["path"], manifest["frames"], size)
    boxes = _boxes(path / MANIFEST, manifest, size)
    return Avatar(
        name=manifest["name"],
        path=path,
        fps=manifest["fps"],
        size=size,
        crop=manifest["crop"],
        width=manifest["width"],
        manifest=manifest,
        frames=frames,
        boxes=boxes,
        border=manifest.get("border", 0),
    )


def _folder(name_or_path: str | Path, root: Path | None) -> Path:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text:
        path = Path(name_or_path)
    elif NAME.fullmatch(text):
        path = (root or ROOT) / text
    else:
        raise AvatarError(f"avatar {text[:80]!r}: not a name; use a-z, 0-9, '-' and '_'")
    if not (path / MANIFEST).is_file():
        names = ", ".join(available(root)) or "none"
        raise AvatarError(f"avatar {text[:80]!r}: no {MANIFEST} at {path}; available: {names}")
    return path


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "fps": int,
    "size": list,
    "frames": int,
    "crop": int,
    "width": int,
    "audio_width": int,
    "licence": str,
    "trained": dict,
    "held_out": dict,
    "files": dict,
    "boxes": list,
}


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise AvatarError(
            f"{file}: not readable JSON ({error}); install the avatar again"
        ) from error
    if not isinstance(manifest, dict):
        raise AvatarError(f"{file}: not a JSON object; install the avatar again")
    for field, kind in _FIELDS.items():
        if field not in manifest:
            raise AvatarError(f"{file}: {field} is missing; install the avatar again")
        value = manifest[field]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise AvatarError(f"{file}: {field} has the wrong type; install the avatar again")
    _check_numbers(file, manifest)
    try:
        named_files(manifest)
    except AvatarError as error:
        raise AvatarError(f"{file}: {error}; install the avatar again") from error
    for role in _FILES:
        named = Path(str(manifest["files"][role]["path"]))
        if role != "frames" and named.suffix != ".safetensors":
            what = "pickled" if named.suffix in _PICKLED else "not safetensors"
            raise AvatarError(
                f"{path / named}: weights are {what}; convert them to .safetensors first"
            )
    return manifest


def named_files(manifest: object) -> dict[str, str]:
    """The path of each file within the package, with its sha256.

    Raises AvatarError for a manifest that does not say so, or a path that leaves the folder.
    """
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise AvatarError("files is missing")
    named: dict[str, str] = {}
    for role in _FILES:
        entry = files.get(role)
        if not isinstance(entry, dict) or not {"path", "sha256"} <= entry.keys():
            raise AvatarError(f"files.{role} needs path and sha256")
        path = Path(str(entry["path"]))
        if path.is_absolute() or ".." in path.parts:
            raise AvatarError(f"files.{role}.path leaves the avatar's folder")
        named[path.as_posix()] = str(entry["sha256"])
    return named


def _check_numbers(file: Path, manifest: dict[str, Any]) -> None:
    size = manifest["size"]
    if len(size) != 2 or not all(type(v) is int and 64 <= v <= 4096 and v % 2 == 0 for v in size):
        raise AvatarError(f"{file}: size {size} is not [width, height], even, 64 to 4096")
    if manifest["crop"] % 32 or not 96 <= manifest["crop"] <= 320:
        raise AvatarError(f"{file}: crop {manifest['crop']} is not a multiple of 32, 96 to 320")
    for field in ("width", "audio_width"):
        if manifest[field] % 2 or not 2 <= manifest[field] <= 64:
            raise AvatarError(f"{file}: {field} {manifest[field]} is not even, 2 to 64")
    if not 1 <= manifest["frames"] <= 3000:
        raise AvatarError(f"{file}: frames {manifest['frames']} is not 1 to 3000")
    border = manifest.get("border", 0)
    if type(border) is not int or not 0 <= border <= 32:
        raise AvatarError(f"{file}: border {border!r} is not 0 to 32")
    if not 1 <= manifest["fps"] <= 60:
        raise AvatarError(f"{file}: fps {manifest['fps']} is not 1 to 60")


def _check_file(path: Path, role: str, entry: dict[str, Any]) -> None:
    file = path / str(entry["path"])
    if not file.is_file():
        raise AvatarError(f"{file}: the {role} file is missing; install the avatar again")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != entry["sha256"]:
        raise AvatarError(
            f"{file}: damaged or changed: sha256 {digest[:12]}…, not {str(entry['sha256'])[:12]}…; "
            "install the avatar again"
        )
    if role == "frames":
        return
    try:
        with safe_open(file, framework="numpy") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        raise AvatarError(f"{file}: not a safetensors file ({error}); convert it again") from error


def _frames(file: Path, count: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    try:
        with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
            parts = [archive.read(name) for name in sorted(archive.namelist())]
    except (zipfile.BadZipFile, OSError) as error:
        raise AvatarError(f"{file}: not a zip of pictures ({error}); install it again") from error
    if len(parts) != count:
        raise AvatarError(f"{file}: {len(parts)} frames, not {count} as the manifest says")
    frames = np.empty((count, size[1], size[0], 3), np.uint8)
    for index, part in enumerate(parts):
        picture = cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR)
        if picture is None or picture.shape != frames.shape[1:]:
            raise AvatarError(f"{file}: frame {index} is no picture of {size}; install it again")
        frames[index] = picture
    return frames


def _boxes(file: Path, manifest: dict[str, Any], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    try:
        boxes = np.array(manifest["boxes"], dtype=np.int32)
    except (ValueError, TypeError, OverflowError) as error:
        raise AvatarError(f"{file}: boxes are not whole numbers ({error}); correct them") from error
    if boxes.shape != (manifest["frames"], 4):
        raise AvatarError(f"{file}: boxes need x, y, w, h for each of {manifest['frames']} frames")
    x, y, w, h = boxes.T
    outside = (x < 0) | (y < 0) | (w < 32) | (h < 32) | (x + w > size[0]) | (y + h > size[1])
    if (boxes % 2).any() or outside.any():
        raise AvatarError(f"{file}: a box is odd or outside the picture; correct it")
    return boxes
