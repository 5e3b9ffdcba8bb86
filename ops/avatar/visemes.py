"""Mouth shapes of espeak-ng's phonemes, and their smooth course in time (coarticulation)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
TRACK_HZ = 200
FPS = 25
SMOOTHING_S = 0.026
REST = (0.0, 0.0, 0.5, 0.2)
CLOSED = frozenset("pbm")

# opening, width, teeth, tongue
VOWELS = {
    "a": (0.85, 0.25, 0.7, 0.2), "A": (1.0, 0.0, 0.5, 0.1), "0": (0.85, -0.35, 0.35, 0.1),
    "O": (0.7, -0.6, 0.25, 0.15), "o": (0.6, -0.75, 0.2, 0.15), "u": (0.3, -1.0, 0.15, 0.2),
    "U": (0.36, -0.7, 0.25, 0.2), "V": (0.68, 0.0, 0.55, 0.2), "@": (0.42, 0.0, 0.55, 0.3),
    "3": (0.42, -0.35, 0.5, 0.35), "E": (0.62, 0.45, 0.8, 0.35), "e": (0.52, 0.6, 0.85, 0.4),
    "I": (0.36, 0.55, 0.85, 0.45), "i": (0.28, 0.9, 0.9, 0.5), "y": (0.28, -0.8, 0.4, 0.4),
    "Y": (0.36, -0.7, 0.4, 0.35), "W": (0.5, -0.6, 0.4, 0.3),
}  # fmt: skip
CONSONANTS = {
    "p": (0.0, 0.0, 0.3, 0.2), "b": (0.0, 0.0, 0.3, 0.2), "m": (0.0, 0.0, 0.3, 0.2),
    "f": (0.08, 0.1, 1.0, 0.1), "v": (0.08, 0.1, 1.0, 0.1), "T": (0.18, 0.1, 0.9, 0.9),
    "D": (0.18, 0.1, 0.9, 0.9), "t": (0.18, 0.2, 0.95, 0.7), "d": (0.18, 0.2, 0.95, 0.7),
    "n": (0.2, 0.2, 0.8, 0.8), "l": (0.28, 0.15, 0.7, 0.95), "s": (0.12, 0.45, 1.0, 0.4),
    "z": (0.12, 0.45, 1.0, 0.4), "S": (0.2, -0.6, 1.0, 0.3), "Z": (0.2, -0.6, 1.0, 0.3),
    "r": (0.24, -0.5, 0.6, 0.5), "w": (0.12, -1.0, 0.2, 0.2), "j": (0.2, 0.6, 0.85, 0.5),
    "k": (0.28, 0.1, 0.6, 0.3), "g": (0.28, 0.1, 0.6, 0.3), "N": (0.28, 0.1, 0.6, 0.3),
    "h": (0.4, 0.0, 0.5, 0.2), "x": (0.28, 0.0, 0.6, 0.3), "?": (0.3, 0.0, 0.5, 0.2),
}  # fmt: skip
GLIDES = {"I": VOWELS["I"], "U": VOWELS["U"], "@": VOWELS["@"], "i": VOWELS["i"], "u": VOWELS["u"]}


def targets(phoneme: str) -> list[tuple[float, float, float, float]]:
    """The one or two shapes a phoneme asks for (two: a diphthong); rest for a pause."""
    name = phoneme.lstrip("'\",%=_|;")
    if not name or phoneme.startswith("_"):
        return [REST]
    if name[0] in VOWELS:
        first = VOWELS[name[0]]
        second = GLIDES.get(name[1:2])
        return [first, second] if second and name[0] != name[1] else [first]
    return [CONSONANTS.get(name[0], CONSONANTS["k"])]


def course(phonemes: list[tuple[str, float]], duration_s: float) -> Array:
    """Mouth shape of each 40 ms frame: float32 (n, 4), from phonemes with their start times.

    Each phoneme's target is held for its time and the course smoothed by a Gaussian of 26 ms; lips
    that must meet (p, b, m) are closed again after the smoothing, whatever stands beside them.
    """
    length = int(duration_s * TRACK_HZ) + 1
    track = np.tile(np.array(REST, np.float32), (length, 1))
    closed = np.zeros(length, np.float32)
    ends = [start for _, start in phonemes[1:]] + [duration_s]
    for (name, start_s), end_s in zip(phonemes, ends[: len(phonemes)], strict=True):
        shapes = targets(name)
        cuts = np.linspace(start_s, end_s, len(shapes) + 1) * TRACK_HZ
        for shape, low, high in zip(shapes, cuts[:-1], cuts[1:], strict=True):
            track[int(low) : int(high)] = shape
        if name.lstrip("'\",%=")[:1] in CLOSED:
            closed[int(start_s * TRACK_HZ) : int(end_s * TRACK_HZ)] = 1.0
    track = np.stack([_smooth(column, SMOOTHING_S) for column in track.T], axis=1)
    track[:, 0] *= 1.0 - np.clip(1.15 * _smooth(closed, 0.012), 0.0, 1.0)
    per_frame = TRACK_HZ // FPS
    frames = int(duration_s * FPS)
    mouths: Array = track[: frames * per_frame].reshape(frames, per_frame, 4).mean(axis=1)
    return mouths


def _smooth(values: Array, sigma_s: float) -> Array:
    sigma = sigma_s * TRACK_HZ
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)
