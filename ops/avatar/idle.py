"""Which part of a clip is shown while nobody speaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpu_node.features import FPS, SAMPLE_RATE_HZ
from ops.avatar.dataset import Dataset, DatasetError
from ops.sound import Sound, SoundError, read_sound

_STEP = SAMPLE_RATE_HZ // FPS
FRAMES = 125


def dataset_sound(dataset: Dataset) -> Sound | None:
    """Its sound at 16 kHz, if there is any. Raises DatasetError for one that cannot be read."""
    if dataset.sound is None:
        return None
    try:
        return read_sound(dataset.sound, SAMPLE_RATE_HZ)
    except SoundError as error:
        raise DatasetError(str(error)) from error


def idle_stretch(
    dataset: Dataset, sound: Sound | None, frames: int, start: int | None = None
) -> range:
    """Indices of ``frames`` pictures in a row: from picture number ``start``, or the quietest.

    Without sound the first ones. Raises DatasetError where there are not so many in a row.
    """
    numbers = np.array(dataset.numbers)
    firsts = np.arange(len(numbers) - frames + 1)
    firsts = firsts[numbers[firsts + frames - 1] - numbers[firsts] == frames - 1]
    if not len(firsts):
        raise DatasetError(
            f"{dataset.path}: there are no {frames} pictures in a row; give less with --frames"
        )
    if start is not None:
        if start not in numbers[firsts]:
            raise DatasetError(
                f"{dataset.path}: there are no {frames} pictures in a row from number {start}; "
                "choose another --start, or less with --frames"
            )
        first = int(firsts[numbers[firsts] == start][0])
    elif sound is None:
        first = int(firsts[0])
    else:
        loud = np.concatenate([[0.0], np.cumsum(_levels(sound, int(numbers[-1]) + 1))])
        at = numbers[firsts]
        first = int(firsts[np.argmin(loud[at + frames] - loud[at])])
    return range(first, first + frames)


def _levels(sound: Sound, count: int) -> npt.NDArray[np.float64]:
    """RMS of the 40 ms of each frame; silence past the end."""
    pcm = np.zeros(count * _STEP)
    kept = min(len(pcm), len(sound.pcm))
    pcm[:kept] = sound.pcm[:kept]
    return np.asarray(np.sqrt((pcm.reshape(count, _STEP) ** 2).mean(axis=1)))
