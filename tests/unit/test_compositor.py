"""The mouth goes where it belongs, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor, ping_pong


def _avatar() -> Avatar:
    frames = np.full((2, 256, 256, 3), (200, 160, 120), np.uint8)
    boxes = np.array([[40, 60, 160, 160], [42, 60, 128, 128]], np.int32)
    return Avatar("x", Path(), 25, (256, 256), 160, 16, {}, frames, boxes)


def _bgr(i420: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420)).astype(int)


def test_without_a_mouth_the_background_is_shown() -> None:
    picture = _bgr(Compositor(_avatar()).compose(0, None))

    assert np.abs(picture - (200, 160, 120)).max() <= 3


def test_the_mouth_is_pasted_softly_into_its_box_and_nowhere_else() -> None:
    avatar = _avatar()
    mouth = np.full((160, 160, 3), (20, 20, 220), np.uint8)

    picture = _bgr(Compositor(avatar).compose(0, mouth))

    assert np.abs(picture[140, 120] - (20, 20, 220)).max() <= 4
    outside = np.ones((256, 256), bool)
    outside[60:220, 40:200] = False
    assert np.abs(picture[outside] - (200, 160, 120)).max() <= 3
    across = picture[140, 40:60, 2]
    assert np.abs(np.diff(across)).max() < 30


def test_a_box_of_another_size_is_filled() -> None:
    mouth = np.full((160, 160, 3), (20, 20, 220), np.uint8)

    picture = _bgr(Compositor(_avatar()).compose(1, mouth))

    assert np.abs(picture[124, 106] - (20, 20, 220)).max() <= 4


def test_the_background_goes_there_and_back() -> None:
    assert [ping_pong(i, 4) for i in range(8)] == [0, 1, 2, 3, 2, 1, 0, 1]
    assert ping_pong(9, 1) == 0
