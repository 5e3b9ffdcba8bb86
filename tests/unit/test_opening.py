"""The measure of a mouth, tried on drawings whose opening is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ops.avatar.drawing import draw, idle_pose
from ops.avatar.mouth import Mouth
from ops.avatar.opening import Image, lip_report, measured_opening, measured_openings

_OPENINGS = np.linspace(0.0, 1.0, 9)


@pytest.mark.parametrize("frame", [0, 27, 62, 124])
def test_it_rises_with_the_opening_wherever_the_head_is(frame: int) -> None:
    pictures = [draw(idle_pose(frame), Mouth(float(opening))) for opening in _OPENINGS]

    measured = measured_openings(pictures)

    assert measured[0] < 0.06
    assert (np.diff(measured) > 0).all()
    assert np.corrcoef(measured, _OPENINGS)[0, 1] > 0.99


@pytest.mark.parametrize("width", [-1.0, 0.9])
def test_a_round_or_a_wide_mouth_measures_alike(width: float) -> None:
    plain = measured_opening(draw(idle_pose(40), Mouth(0.4)))

    assert measured_opening(draw(idle_pose(40), Mouth(0.4, width))) == pytest.approx(plain, abs=0.2)


def _compressed(picture: Image) -> Image:
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)


def test_it_survives_coarse_compression() -> None:
    pictures = [draw(idle_pose(10), Mouth(float(opening))) for opening in _OPENINGS]
    coarse = [_compressed(picture) for picture in pictures]

    assert np.abs(measured_openings(coarse) - measured_openings(pictures)).max() < 0.1


def test_a_picture_without_a_mouth_measures_closed() -> None:
    assert measured_opening(np.full((512, 512, 3), (160, 190, 220), np.uint8)) == 0.0


def _speech(frames: int = 800) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(3).random(frames)
    return np.convolve(noise, np.ones(4) / 4, mode="same"), np.ones(frames, bool)


def test_a_mouth_one_frame_late_still_counts_and_two_do_not() -> None:
    wanted, speaking = _speech()

    late = lip_report(np.roll(wanted, 1), wanted, speaking)
    later = lip_report(np.roll(wanted, 3), wanted, speaking)

    assert late["correlation"] > 0.99
    assert late["lag_frames"] == 1
    assert later["correlation"] < 0.7


def test_shifted_speech_does_not_correlate() -> None:
    wanted, speaking = _speech()

    assert lip_report(wanted, wanted, speaking)["shifted"] < 0.2


def test_only_speaking_frames_count() -> None:
    wanted, speaking = _speech()
    measured = wanted.copy()
    measured[400:] = 0.0
    speaking[400:] = False

    assert lip_report(measured, wanted, speaking)["correlation"] > 0.99


def test_a_mouth_that_never_moves_correlates_with_nothing() -> None:
    wanted, speaking = _speech()

    assert lip_report(np.zeros(len(wanted)), wanted, speaking)["correlation"] == 0.0
