"""Reads a dataset in SyncTalk 2D's published layout: pictures, landmarks and sound of one face.

full_body_img/0.jpg, 1.jpg, ...   the clip at 25 frames a second
landmarks/0.lms, 1.lms, ...       110 lines "x y" each, px of the picture
aud.wav                           its sound
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

PICTURES, LANDMARKS, SOUND = "full_body_img", "landmarks", "aud.wav"
POINTS = 110
JAW_LEFT, JAW_RIGHT, BRIDGE = 1, 31, 52
"""The landmarks from which the crop is taken; no other is read."""
_SLACK_PX = 2
"""A box that sticks out by no more than rounding is moved in."""
_LEAST_BOX_PX = 32


class DatasetError(Exception):
    """A dataset cannot be used; the message names the file, the fault and the remedy."""


@dataclass(frozen=True)
class Dataset:
    """A folder whose files are all there. ``numbers`` are those of its pictures, in order."""

    path: Path
    numbers: tuple[int, ...]

    @property
    def sound(self) -> Path | None:
        """aud.wav, if there is one."""
        file = self.path / SOUND
        return file if file.is_file() else None

    def picture(self, index: int) -> Path:
        """The file of the picture at ``index``."""
        return self.path / PICTURES / f"{self.numbers[index]}.jpg"

    def landmarks(self, index: int) -> Path:
        """The file of its landmarks."""
        return self.path / LANDMARKS / f"{self.numbers[index]}.lms"


@dataclass(frozen=True)
class Scaled:
    """How large pictures are as read, and as used (w, h): both even."""

    read: tuple[int, int]
    used: tuple[int, int]

    @property
    def trimmed(self) -> bool:
        """Only an odd last row or column is left out."""
        return self.read[0] - self.used[0] <= 1 and self.read[1] - self.used[1] <= 1

    def box(self, dataset: Dataset, index: int) -> tuple[int, int, int, int]:
        """x, y, w, h of the face, all even and inside the used picture. Raises DatasetError."""
        file = dataset.landmarks(index)
        share = 1.0 if self.trimmed else self.used[1] / self.read[1]
        return face_box(read_landmarks(file) * share, self.used, file)


def open_dataset(folder: Path) -> Dataset:
    """Raises DatasetError where there are no pictures, or one has no landmarks."""
    pictures = folder / PICTURES
    if not pictures.is_dir():
        raise DatasetError(
            f"{folder}: there is no {PICTURES} in it; "
            "make a dataset with `rapido avatar prepare VIDEO DIR`"
        )
    numbers = sorted(int(file.stem) for file in pictures.glob("*.jpg") if file.stem.isdigit())
    if not numbers:
        raise DatasetError(f"{pictures}: no frames: it holds no 0.jpg, 1.jpg, ...; prepare it anew")
    for number in numbers:
        file = folder / LANDMARKS / f"{number}.lms"
        if not file.is_file():
            raise DatasetError(
                f"{file}: missing, but there is {PICTURES}/{number}.jpg; "
                "remove that picture or prepare the dataset anew"
            )
    return Dataset(folder, tuple(numbers))


def read_landmarks(file: Path) -> Points:
    """The points (110, 2). Raises DatasetError."""
    lines = [line for line in _text(file).splitlines() if line.strip()]
    if len(lines) != POINTS:
        raise DatasetError(f"{file}: {len(lines)} lines, not {POINTS}; prepare the dataset anew")
    points = np.empty((POINTS, 2))
    for at, line in enumerate(lines):
        try:
            x, y = (float(part) for part in line.split())
        except ValueError:
            x = y = np.nan
        if not np.isfinite((x, y)).all():
            raise DatasetError(
                f"{file}: line {at + 1} is {line[:40]!r}, not two numbers; prepare it anew"
            )
        points[at] = x, y
    return points


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise DatasetError(f"{file}: not text, lines 'x y' are needed; prepare it anew") from None


def face_box(points: Points, size: tuple[int, int], file: Path) -> tuple[int, int, int, int]:
    """The square below the nose's bridge, as wide as the face: even, inside a picture (w, h).

    Raises DatasetError, naming ``file``, for a face at the border or much too small.
    """
    left, right = float(points[JAW_LEFT, 0]), float(points[JAW_RIGHT, 0])
    side = 2 * round((right - left) / 2)
    x, y = 2 * round(left / 2), 2 * round(float(points[BRIDGE, 1]) / 2)
    if side < _LEAST_BOX_PX:
        raise DatasetError(
            f"{file}: the face is {right - left:.0f} px wide (from line {JAW_LEFT + 1} to line "
            f"{JAW_RIGHT + 1}), less than {_LEAST_BOX_PX}; film it larger"
        )
    inside = [min(max(0, at), whole - side) for at, whole in zip((x, y), size, strict=True)]
    moved = max(abs(inside[0] - x), abs(inside[1] - y))
    if moved > _SLACK_PX or min(inside) < 0:
        raise DatasetError(
            f"{file}: the face is at the border: its box x {x} to {x + side}, y {y} to {y + side} "
            f"leaves the picture of {size[0]} x {size[1]}; leave that part of the clip out"
        )
    return inside[0], inside[1], side, side


def scaled(dataset: Dataset, height_px: int | None) -> Scaled:
    """The size of the first picture, made no higher than ``height_px``."""
    h, w = _decode(dataset.picture(0)).shape[:2]
    if height_px is None or height_px >= h:
        return Scaled((w, h), (w - w % 2, h - h % 2))
    return Scaled((w, h), (2 * round(w * height_px / h / 2), height_px))


def read_picture(dataset: Dataset, index: int, sizes: Scaled) -> Image:
    """uint8 (h, w, 3) BGR at the used size. Raises DatasetError."""
    file = dataset.picture(index)
    picture = _decode(file)
    h, w = picture.shape[:2]
    if (w, h) != sizes.read:
        raise DatasetError(
            f"{file}: {w} x {h} px, but the first picture has {sizes.read[0]} x {sizes.read[1]}; "
            "make all of one size"
        )
    if sizes.trimmed:
        return np.ascontiguousarray(picture[: sizes.used[1], : sizes.used[0]])
    small = cv2.resize(picture, sizes.used, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def read_pictures(dataset: Dataset, indices: Sequence[int], sizes: Scaled) -> Iterator[Image]:
    """Each of them in order."""
    for index in indices:
        yield read_picture(dataset, index, sizes)


def _decode(file: Path) -> Image:
    picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{file}: not a picture; remove it or prepare the dataset anew")
    return np.asarray(picture, np.uint8)
