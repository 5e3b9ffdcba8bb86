"""The drawn tutor as a clip: a film of her, or a dataset in the published layout."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gpu_node.avatars import load_avatar
from gpu_node.compositor import ping_pong
from ops.avatar.corpus import VOICES
from ops.avatar.dataset import BRIDGE, LANDMARKS, PICTURES, POINTS, SOUND, Points
from ops.avatar.drawing import IDLE_FRAMES, SIZE, Pose, draw, idle_pose
from ops.avatar.mouth import JAW_DROP_PX, Mouth
from ops.avatar.speech import SAMPLE_RATE_HZ, Speech, join, resample, synthesise
from ops.avatar.texts import training_sentence
from ops.avatar.writing import write_landmarks, write_picture, write_wav
from ops.film import RATE_HZ, write_film

Image = npt.NDArray[np.uint8]
Say = Callable[[str], None]
_VOICE = VOICES[4]
_QUIET_S = 5.5
"""Silence at the start, long enough for an idle loop."""
_SHUT = 1e-3
_TELL_EVERY = 500

# The face's outline in head coordinates, as two curves from the left ear to the chin (portrait.py).
_CHEEK = ((161, 218), (160, 262), (172, 304), (200, 333))
_CHIN_Y, _BRIDGE_X, _BRIDGE_YS = 358, 256, (222, 240, 258, 272)
_FACE_DEPTH, _NOSE_DEPTH, _PIVOT = 0.35, 1.45, (256, 430)


def spoken(seconds: float, seed: int) -> Speech:
    """A pause and then sentences of one voice, about so long in all."""
    random = np.random.default_rng(seed)
    parts: list[Speech] = []
    length_s = 0.0
    while length_s < max(0.5, seconds - _quiet_s(seconds)):
        parts.append(synthesise(training_sentence(random), _VOICE, 160))
        length_s += len(parts[-1].mouths) / 25 + 0.4
    speech = join(parts, 0.4)
    quiet = join([_silence(_quiet_s(seconds)), speech], 0.0)
    return quiet.first(seconds)


def _quiet_s(seconds: float) -> float:
    return min(_QUIET_S, seconds / 2)


def _silence(seconds: float) -> Speech:
    frames = round(seconds * 25)
    mouths = np.tile(np.array([0.0, 0.0, 0.5, 0.2], np.float32), (frames, 1))
    pcm = np.zeros(frames * SAMPLE_RATE_HZ // 25, np.float32)
    return Speech(pcm, SAMPLE_RATE_HZ, [("_", 0.0)], mouths[:, 0].copy(), mouths)


def landmarks(pose: Pose, mouth: Mouth) -> Points:
    """Where the outline and the nose's bridge of that drawing are: (110, 2), the rest on the
    bridge."""
    drop = JAW_DROP_PX * mouth.opening
    chin = _CHIN_Y + drop
    lower = ((200, 333), (218, 351 + drop * 0.75), (238, chin), (256, chin))
    half = [_curve(_CHEEK, at / 11) for at in range(11)]
    half += [_curve(lower, at / 5) for at in range(6)]
    left = np.array(half)
    right = np.array([512, 0]) + left[-2::-1] * (-1, 1)
    points = np.empty((POINTS, 2))
    points[:33] = np.concatenate([left, right])
    points[:33, 0] += pose.yaw_px * _FACE_DEPTH
    bridge = [(_BRIDGE_X + pose.yaw_px * _NOSE_DEPTH, y) for y in _BRIDGE_YS]
    points[33:] = bridge[1]
    points[BRIDGE - 1 : BRIDGE + 3] = bridge
    return _moved(points, pose)


def _curve(control: tuple[tuple[float, float], ...], t: float) -> Points:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return np.array(weights) @ np.array(control, dtype=float)


def _moved(points: Points, pose: Pose) -> Points:
    """As the head is: rolled around the neck, then shifted."""
    turn = math.radians(pose.roll_deg)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    moved: Points = (points - _PIVOT) @ rotation + _PIVOT + pose.shift
    return moved


def _pictures(speech: Speech, workers: int) -> Iterator[Image]:
    """The demo avatar's idle loop, with each mouth drawn into it: only the mouth's square
    differs, and while she is silent nothing does."""
    idle = load_avatar("demo").frames
    mouths = [Mouth(*(float(value) for value in row)) for row in speech.mouths]
    poses = [ping_pong(at, IDLE_FRAMES) for at in range(len(mouths))]
    for pose, crop in zip(poses, _crops(poses, mouths, workers), strict=True):
        picture = idle[pose].copy()
        if crop is not None:
            x, y, w, h = idle_pose(pose).box
            picture[y : y + h, x : x + w] = crop
        yield picture


def _crops(poses: list[int], mouths: list[Mouth], workers: int) -> Iterator[Image | None]:
    if workers == 1:
        yield from map(_crop, poses, mouths)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_crop, poses, mouths, chunksize=8)


def _crop(pose: int, mouth: Mouth) -> Image | None:
    if mouth.opening < _SHUT:
        return None
    return draw(idle_pose(pose), mouth, idle_pose(pose).box)


def draw_dataset(folder: Path, seconds: float, say: Say, *, workers: int = 2, seed: int = 5) -> int:
    """Writes a whole dataset, and says how many frames it has. ``folder`` must not exist."""
    speech = spoken(seconds, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        for name in (PICTURES, LANDMARKS):
            (made / name).mkdir(parents=True)
        for at, picture in enumerate(_pictures(speech, workers)):
            write_picture(made / PICTURES / f"{at}.jpg", picture)
            pose = idle_pose(ping_pong(at, IDLE_FRAMES))
            write_landmarks(
                made / LANDMARKS / f"{at}.lms",
                landmarks(pose, Mouth(*(float(value) for value in speech.mouths[at]))),
            )
            if (at + 1) % _TELL_EVERY == 0:
                say(f"frames: {at + 1} of {len(speech.mouths)}")
        write_wav(made / SOUND, speech.pcm, SAMPLE_RATE_HZ)
        made.rename(folder)
    return len(speech.mouths)


def draw_film(file: Path, seconds: float, *, workers: int = 2, seed: int = 5) -> int:
    """Writes the same clip as a film with sound, and says how many frames it has."""
    speech = spoken(seconds, seed)
    pictures = (
        np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
        for picture in _pictures(speech, workers)
    )
    pcm = resample(speech.pcm, SAMPLE_RATE_HZ, RATE_HZ)
    return write_film(file, (SIZE, SIZE), pictures, pcm)
