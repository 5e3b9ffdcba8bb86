"""Sound files of any usual kind, to one row of samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SPEECH_RATES_HZ = (8_000, 48_000)
"""What a worker takes."""


class SoundError(Exception):
    """A sound file cannot be used; the message names it, the fault and the remedy."""


@dataclass(frozen=True, eq=False)
class Sound:
    """pcm: float32 (n,) mono in -1..1. ``cut``: the file has more than was asked for.

    start_s: when the sound begins on the file's clock; beside a picture it may not be 0.
    """

    pcm: Array
    rate_hz: int
    cut: bool = False
    start_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Of what was read."""
        return len(self.pcm) / self.rate_hz


def read_sound(file: Path, rate_hz: int | None = None, most_s: float | None = None) -> Sound:
    """The first ``most_s`` of a WAV, or of anything else with sound, at its own rate or another.

    Every depth and any number of channels; what is louder than full scale is clipped.
    Raises SoundError.
    """
    try:
        with av.open(str(file)) as container:
            if not container.streams.audio:
                raise SoundError(f"{file}: there is no sound in it; give a WAV file with speech")
            return _read(file, container, rate_hz, most_s)
    except (av.FFmpegError, OSError) as error:
        raise SoundError(
            f"{file}: not a sound file that can be read ({error}); export it as WAV, 16 bit"
        ) from error


def read_speech(file: Path, most_s: float) -> Sound:
    """A whole file at a rate that a worker takes. Raises SoundError where it is longer."""
    sound = read_sound(file, most_s=most_s)
    if sound.cut:
        raise SoundError(f"{file}: longer than {most_s:g} s; cut it in pieces")
    if SPEECH_RATES_HZ[0] <= sound.rate_hz <= SPEECH_RATES_HZ[1]:
        return sound
    return read_sound(file, SPEECH_RATES_HZ[1], most_s)


def _read(file: Path, container: Any, rate_hz: int | None, most_s: float | None) -> Sound:
    stream = container.streams.audio[0]
    rate = rate_hz or int(stream.rate or 0)
    if rate <= 0:
        raise SoundError(f"{file}: its sample rate is {rate}; export it as WAV, 16 bit")
    # the channels are kept: FFmpeg's own mono is 3 dB too loud where both sides say the same
    resampler = av.AudioResampler(format="fltp", rate=rate)
    most = None if most_s is None else int(most_s * rate)
    parts: list[Array] = []
    count, start_s = 0, 0.0
    for frame in container.decode(stream):
        if not parts and frame.time is not None:
            start_s = float(frame.time)
        count += _take(parts, resampler.resample(frame))
        if most is not None and count > most:
            break
    else:
        count += _take(parts, resampler.resample(None))
    if not count:
        raise SoundError(f"{file}: there is no sound in it: it lasts no time; record it again")
    pcm = np.concatenate(parts)[:most]
    if not np.isfinite(pcm).all():
        raise SoundError(f"{file}: some samples are no numbers; export it again")
    return Sound(np.clip(pcm, -1, 1), rate, most is not None and count > most, start_s)


def _take(parts: list[Array], frames: list[Any]) -> int:
    """Adds the samples of the frames, and says how many."""
    count = 0
    for frame in frames:
        samples = np.asarray(frame.to_ndarray(), np.float32).mean(axis=0)
        parts.append(samples)
        count += len(samples)
    return count
