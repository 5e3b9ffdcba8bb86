"""Finds a face's landmarks with MediaPipe, and puts them where the published layout has them.

MediaPipe's 478 points have other numbers than the 110 of the published pipeline. Of these only the
jaw (0 to 32) and the nose's bridge (51 to 54) are filled: nothing reads the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt

from ops.avatar.dataset import BRIDGE, POINTS, DatasetError, Points

Image = npt.NDArray[np.uint8]
_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
"""MediaPipe's outline from beside the eye on the picture's left down to the chin."""
_JAW_BACK = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
_BRIDGE = (168, 6, 195, 4)
_HALF_STEPS = 16


class Detector(Protocol):
    """Finds faces in the pictures of one film, in order."""

    def faces(self, picture: Image, at_ms: int) -> list[Points]:
        """MediaPipe's 478 points (x, y) in px of each face in a BGR picture."""


class MediaPipe:
    """The Face Landmarker of MediaPipe with Google's model file, face_landmarker.task.

    Raises ModuleNotFoundError without mediapipe, DatasetError without the model.
    """

    def __init__(self, model: Path) -> None:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        if not model.is_file():
            raise DatasetError(
                f"{model}: no such file; fetch Google's face_landmarker.task (Apache 2.0) and "
                "name it with --model: see docs/avatars.md"
            )
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=2,
        )
        try:
            self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise DatasetError(f"{model}: not a Face Landmarker model ({error})") from error
        self._mediapipe: Any = mediapipe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._landmarker.close()

    def faces(self, picture: Image, at_ms: int) -> list[Points]:
        """See the port."""
        rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        found = self._landmarker.detect_for_video(image, at_ms).face_landmarks
        size = (picture.shape[1], picture.shape[0])
        return [np.array([(point.x, point.y) for point in face]) * size for face in found]


def as_published(mesh: Points) -> Points:
    """The 110 points of MediaPipe's 478: jaw and bridge, and the bridge for all the rest."""
    points = np.empty((POINTS, 2))
    points[:] = mesh[_BRIDGE[1]]
    points[: _HALF_STEPS + 1] = _evenly(mesh[list(_JAW)])
    points[_HALF_STEPS : 2 * _HALF_STEPS + 1] = _evenly(mesh[list(_JAW_BACK)])
    points[BRIDGE - 1 : BRIDGE + 3] = mesh[list(_BRIDGE)]
    return points


def _evenly(line: Points) -> Points:
    """17 points at equal distances along a line of points, its two ends among them."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.linspace(0.0, lengths[-1], _HALF_STEPS + 1)
    return np.stack([np.interp(at, lengths, column) for column in line.T], axis=1)
