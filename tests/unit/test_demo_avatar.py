"""The avatar that ships: whole, free to use, and moving its lips with speech it never heard."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from gpu_node.avatars import Avatar, load_avatar
from gpu_node.engine import Engine, make_engine
from ops.avatar.check import performed
from ops.avatar.opening import lip_report, measured_openings
from ops.avatar.speech import held_out

_FRAMES = 250


@pytest.fixture(scope="module")
def demo() -> Avatar:
    return load_avatar("demo")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return make_engine("cpu")


def test_it_is_small_free_and_tells_how_it_was_made(demo: Avatar) -> None:
    size = sum(file.stat().st_size for file in demo.path.iterdir())

    assert size <= 14_000_000
    assert demo.manifest["licence"] == "Apache-2.0"
    assert demo.manifest["trained"]["with"] == "rapido avatar train"
    assert demo.manifest["held_out"]["correlation"] >= 0.75
    assert demo.manifest["held_out"]["shifted"] <= 0.3


def test_its_lips_follow_speech_it_never_heard(demo: Avatar, engine: Engine) -> None:
    speech = held_out()
    start = replace(
        speech,
        pcm=speech.pcm[: _FRAMES * 640],
        openings=speech.openings[:_FRAMES],
        mouths=speech.mouths[:_FRAMES],
    )

    measured = measured_openings(performed(demo, engine, start))

    report = lip_report(measured, speech.openings.astype(float), speech.speaking)
    assert report["correlation"] >= 0.75
    assert report["shifted"] <= 0.4


def test_its_mouth_is_closed_in_silence_and_in_noise(demo: Avatar, engine: Engine) -> None:
    speech = held_out()
    noise = 0.003 * np.random.default_rng(1).normal(size=50 * 640).astype(np.float32)
    for pcm in (np.zeros(50 * 640, np.float32), noise):
        quiet = replace(speech, pcm=pcm, openings=speech.openings[:50], mouths=speech.mouths[:50])

        assert measured_openings(performed(demo, engine, quiet)).max() < 0.1


def test_its_idle_loop_is_calm_and_its_mouth_stays_shut(demo: Avatar) -> None:
    frames = demo.frames.astype(np.int16)

    steps = [np.abs(b - a).mean() for a, b in itertools.pairwise(frames)]

    assert max(steps) < 6
    assert measured_openings(demo.frames).max() < 0.1
