"""A film of a face to a dataset in the published layout: frames, landmarks, sound."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from gpu_node.features import FPS, SAMPLE_RATE_HZ
from ops.avatar.dataset import LANDMARKS, PICTURES, SOUND, DatasetError, Points, face_box
from ops.avatar.faces import Detector, as_published
from ops.avatar.writing import write_landmarks, write_picture, write_wav
from ops.sound import SoundError, read_sound

Image = npt.NDArray[np.uint8]
Say = Callable[[str], None]
_TELL_EVERY = 20 * FPS
_LONGEST_GAP = 5
"""Frames in a row without a face that are bridged: a blink of the detector, 0.2 s."""
_SMOOTHING_FRAMES = 1.5


def prepare(
    film: Path, folder: Path, detector: Detector, height_px: int, say: Say
) -> dict[str, float]:
    """Writes the dataset, and says how long it is. ``folder`` must not exist.

    Raises DatasetError for a film without sound or without one face throughout.
    """
    if folder.exists():
        raise DatasetError(f"{folder}: is there already; name another, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        for name in (PICTURES, LANDMARKS):
            (made / name).mkdir(parents=True)
        meshes, size, start_s = _take_pictures(film, made / PICTURES, detector, height_px, say)
        points = smoothed(bridged(meshes, film))
        for at, one in enumerate(points):
            file = made / LANDMARKS / f"{at}.lms"
            face_box(one, size, Path(f"{film} at {at / FPS:.2f} s"))
            write_landmarks(file, one)
        pcm = _sound(film, start_s, len(points))
        write_wav(made / SOUND, pcm, SAMPLE_RATE_HZ)
        made.rename(folder)
    missing = sum(mesh is None for mesh in meshes)
    return {"frames": len(points), "seconds": len(points) / FPS, "bridged_frames": missing}


def _take_pictures(
    film: Path, target: Path, detector: Detector, height_px: int, say: Say
) -> tuple[list[Points | None], tuple[int, int], float]:
    """Writes every frame; the face of each, the frames' size, when the first one was taken."""
    meshes: list[Points | None] = []
    size, start_s = (0, 0), 0.0
    for at, (picture, began_s) in enumerate(frames_at_25(film, height_px)):
        size, start_s = (picture.shape[1], picture.shape[0]), began_s
        faces = detector.faces(picture, at * 1000 // FPS)
        if len(faces) > 1:
            raise DatasetError(
                f"{film}: {len(faces)} faces at {at / FPS:.2f} s; film one person only, or cut "
                "that part out"
            )
        meshes.append(as_published(faces[0]) if faces else None)
        write_picture(target / f"{at}.jpg", picture)
        if (at + 1) % _TELL_EVERY == 0:
            say(f"frames: {at + 1}, {(at + 1) / FPS:.0f} s of the film")
    if not meshes:
        raise DatasetError(f"{film}: there is no picture in it; give a film of a face")
    return meshes, size, start_s


def frames_at_25(film: Path, height_px: int) -> Iterator[tuple[Image, float]]:
    """The picture on screen at each 1/25 s, upright, BGR, even sides, no higher than
    ``height_px``; and the time of the film's first picture. Raises DatasetError."""
    try:
        with av.open(str(film)) as container:
            if not container.streams.video:
                raise DatasetError(f"{film}: there is no picture in it; give a film of a face")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            start_s, time_s, shown, last = 0.0, 0.0, 0, None
            for frame in container.decode(stream):
                time_s = float(frame.time or 0.0)
                if last is None:
                    start_s = time_s
                while last is not None and start_s + shown / FPS < time_s - 1e-6:
                    yield last, start_s
                    shown += 1
                last = _upright(frame, height_px)
            if last is not None and start_s + shown / FPS < time_s + 1e-6:
                yield last, start_s
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"{film}: not a film that can be read ({error})") from error


def _upright(frame: av.VideoFrame, height_px: int) -> Image:
    picture = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    turns = (frame.rotation // 90) % 4
    if turns:
        picture = np.rot90(picture, turns)
    h, w = picture.shape[:2]
    if h > height_px:
        size = (2 * round(w * height_px / h / 2), height_px - height_px % 2)
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(picture[: h - h % 2, : w - w % 2])


def bridged(found: list[Points | None], film: Path) -> npt.NDArray[np.float64]:
    """Landmarks (n, 110, 2), short gaps filled between their ends. Raises DatasetError."""
    seen = [at for at, points in enumerate(found) if points is not None]
    if not seen:
        raise DatasetError(f"{film}: no face found in it; film a face from the front, well lit")
    edges = [-1, *seen, len(found)]
    for before, after in pairwise(edges):
        if after - before - 1 > _LONGEST_GAP:
            raise DatasetError(
                f"{film}: no face from {(before + 1) / FPS:.2f} to {after / FPS:.2f} s; "
                "cut that part out"
            )
    known = np.stack([points for points in found if points is not None]).reshape(len(seen), -1)
    every = [np.interp(np.arange(len(found)), seen, column) for column in known.T]
    return np.stack(every, axis=1).reshape(len(found), -1, 2)


def smoothed(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Without the detector's trembling, which would shake the mouth: a Gaussian of 60 ms."""
    reach = int(4 * _SMOOTHING_FRAMES)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTHING_FRAMES) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(points, ((reach, reach), (0, 0), (0, 0)), mode="edge")
    return sum(
        (share * padded[at : at + len(points)] for at, share in enumerate(kernel)),
        np.zeros_like(points),
    )


def _sound(film: Path, start_s: float, frames: int) -> npt.NDArray[np.float32]:
    """The sound from the first picture on, as long as the pictures."""
    try:
        sound = read_sound(film, SAMPLE_RATE_HZ)
    except SoundError as error:
        raise DatasetError(f"{error}: lips learn from the sound") from error
    pcm = np.zeros(frames * SAMPLE_RATE_HZ // FPS, np.float32)
    lead = round((sound.start_s - start_s) * SAMPLE_RATE_HZ)
    kept = sound.pcm[max(0, -lead) :]
    at = max(0, lead)
    count = max(0, min(len(kept), len(pcm) - at))
    pcm[at : at + count] = kept[:count]
    return pcm
