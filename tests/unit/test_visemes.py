"""The mouth's course: what the phonemes ask for, smoothly."""

from __future__ import annotations

import numpy as np

from ops.avatar.visemes import course, targets


def test_lips_meet_for_p_b_and_m_whatever_stands_beside_them() -> None:
    mouths = course([("_", 0.0), ("A", 0.2), ("m", 0.4), ("A", 0.52), ("_", 0.72)], 1.0)

    assert mouths.shape == (25, 4)
    assert mouths[11, 0] < 0.05
    assert mouths[7, 0] > 0.7
    assert mouths[15, 0] > 0.7


def test_a_pause_is_a_closed_mouth() -> None:
    mouths = course([("_", 0.0), ("A", 0.4), ("_", 0.6)], 1.2)

    assert mouths[:6, 0].max() < 0.05
    assert mouths[22:, 0].max() < 0.05
    assert course([], 0.4)[:, 0].max() == 0.0


def test_a_diphthong_passes_through_two_shapes() -> None:
    assert len(targets("aI")) == 2
    assert targets("aI")[0][0] > targets("aI")[1][0]
    assert targets("u")[0][1] < -0.9


def test_stress_marks_do_not_change_a_shape_and_unknown_names_have_one() -> None:
    assert targets("'A") == targets("A")
    assert len(targets("qqq")) == 1


def test_the_course_has_no_jumps() -> None:
    names = ["_", "h", "E", "l", "oU", "_", "w", "3", "l", "d", "_"]
    mouths = course([(name, index * 0.09) for index, name in enumerate(names)], 1.2)

    assert np.abs(np.diff(mouths[:, 0])).max() < 0.5
    assert mouths[:, 0].min() >= 0.0
    assert mouths[:, 0].max() <= 1.0
