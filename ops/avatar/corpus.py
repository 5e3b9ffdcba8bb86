"""What the demo avatar is trained on: spoken sentences with mouths, and drawn pairs of crops."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ops.avatar.drawing import IDLE_FRAMES, draw, idle_pose
from ops.avatar.mouth import Mouth
from ops.avatar.rendering import windows_of
from ops.avatar.speech import SAMPLE_RATE_HZ, Speech, join, synthesise
from ops.avatar.texts import training_sentence
from ops.avatar.visemes import Array

Image = npt.NDArray[np.uint8]
VOICES = (
    "en-us", "en-us+m1", "en-us+m3", "en-us+m7", "en-us+f1", "en-us+f2", "en-us+f3", "en-us+f4",
    "en-gb-x-rp", "en-gb-scotland+f1", "en-029", "en-us+linda", "en-us+steph", "en-us+adam",
    "en-us+Annie", "en-us+michael", "en-us+Alicia", "en-us+belinda", "en-gb-scotland", "en-us+john",
)  # fmt: skip
SENTENCES_A_CLIP = 4


@dataclass(frozen=True)
class Clip:
    """One voice saying a few sentences: mel windows (n, 80, 16) and the mouths they belong to."""

    windows: Array
    speech: Speech


def clips(minutes: float, seed: int) -> Iterator[Clip]:
    """About `minutes` of training speech, voice after voice, then noise with a closed mouth."""
    random = np.random.default_rng(seed)
    frames, voice = 0, 0
    while frames < minutes * 60 * 25:
        parts = [
            synthesise(
                training_sentence(random),
                VOICES[voice % len(VOICES)],
                int(random.integers(125, 215)),
                int(random.integers(25, 80)),
                int(random.integers(30, 80)),
            )
            for _ in range(SENTENCES_A_CLIP)
        ]
        speech = join(parts, float(random.uniform(0.3, 1.0)))
        yield Clip(windows_of(_recorded(speech.pcm, random)), speech)
        frames, voice = frames + len(speech.openings), voice + 1
    for _ in range(max(1, round(minutes / 2))):
        yield _noise(random)


def _recorded(pcm: Array, random: np.random.Generator) -> Array:
    """The speech as other microphones would give it: level, tone, hiss."""
    spectrum = np.fft.rfft(pcm)
    hz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE_HZ)
    knots = np.cumsum(random.normal(0, 3.0, 7)).clip(-9, 9)  # dB over 0..8 kHz
    tone = np.interp(hz, np.linspace(0, 8000, 7), knots - knots.mean())
    shaped = np.fft.irfft(spectrum * 10 ** (tone / 20), len(pcm))
    level = 10 ** (random.uniform(-10, 4) / 20)
    hiss = 10 ** (random.uniform(-75, -42) / 20) * random.normal(size=len(pcm))
    return np.clip(shaped * level + hiss, -1, 1).astype(np.float32)


def _noise(random: np.random.Generator, seconds: int = 8) -> Clip:
    """Room noise and digital silence, in which nobody speaks."""
    pcm = np.zeros(seconds * SAMPLE_RATE_HZ, np.float32)
    for start in range(0, seconds, 2):
        piece = random.normal(size=2 * SAMPLE_RATE_HZ)
        if start % 4 == 0:
            piece = np.cumsum(piece - piece.mean())
        piece *= 10 ** (random.uniform(-70, -28) / 20) / max(1e-9, float(np.std(piece)))
        if random.random() < 0.3:
            piece *= 0
        pcm[start * SAMPLE_RATE_HZ : (start + 2) * SAMPLE_RATE_HZ] = piece
    mouths = np.tile(np.array([0.0, 0.0, 0.5, 0.2], np.float32), (seconds * 25, 1))
    still = Speech(pcm, SAMPLE_RATE_HZ, [("_", 0.0)], mouths[:, 0].copy(), mouths)
    return Clip(windows_of(pcm), still)


def _paint(frame: int, shape: tuple[float, ...]) -> Image:
    pose = idle_pose(frame)
    return draw(pose, Mouth(*shape), pose.box)


def drawn_crops(frames: list[int], mouths: Array, workers: int) -> Iterator[Image]:
    """The crop of each idle frame with its mouth: uint8 (160, 160, 3) BGR, in order."""
    shapes = [tuple(float(value) for value in row) for row in mouths]
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_paint, frames, shapes, chunksize=16)


def _whole(frame: int) -> Image:
    return draw(idle_pose(frame), Mouth())


def idle_frames(workers: int) -> Iterator[Image]:
    """The closed-mouth idle loop: IDLE_FRAMES pictures, uint8 (512, 512, 3) BGR."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_whole, range(IDLE_FRAMES), chunksize=4)
