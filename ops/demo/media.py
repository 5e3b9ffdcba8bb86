"""What a learner received, as files and as numbers: the film, the sheet, sound against picture."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from ops.demo.learner import RATE_HZ, Heard, Learner, Seen

Array = npt.NDArray[np.float64]
_EAR_HZ = 16_000
_FPS = 25


class Sound:
    """The sound of one learner as one line, with the time each sample left the jitter buffer."""

    def __init__(self, heard: Sequence[Heard]) -> None:
        self.pcm = np.concatenate([one.pcm for one in heard]).astype(np.float64) / 32768
        sizes = np.array([len(one.pcm) for one in heard])
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._at_s = np.array([one.at_s - len(one.pcm) / RATE_HZ for one in heard])

    def time_of(self, sample: int) -> float:
        """When that sample began to be heard: pieces come in bursts, so over half a second."""
        piece = int(np.searchsorted(self._starts, sample, side="right")) - 1
        near = slice(max(0, piece - 25), piece + 26)
        offset = np.median(self._at_s[near] - self._starts[:-1][near] / RATE_HZ)
        return float(offset + sample / RATE_HZ)

    def level(self, start_s: float, end_s: float, step_s: float = 0.01) -> Array:
        """RMS of each step of that time."""
        first = self._sample_at(start_s)
        step = int(step_s * RATE_HZ)
        count = int((end_s - start_s) / step_s)
        part = self.pcm[first : first + count * step]
        part = part[: len(part) // step * step].reshape(-1, step)
        return np.asarray(np.sqrt((part**2).mean(axis=1)))

    def _sample_at(self, at_s: float) -> int:
        piece = int(np.clip(np.searchsorted(self._at_s, at_s) - 1, 0, len(self._at_s) - 1))
        return int(self._starts[piece] + max(0.0, at_s - self._at_s[piece]) * RATE_HZ)


def find(sound: Sound, speech: Array, speech_hz: int) -> tuple[int, float]:
    """Where (sample) the speech begins in the sound, and how alike they are, 0..1."""
    heard = resample(sound.pcm, RATE_HZ, _EAR_HZ)
    said = resample(speech, speech_hz, _EAR_HZ)
    n = 1 << (len(heard) + len(said)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(said, n)), n)
    lag = int(np.argmax(cross[: len(heard)]))
    there = heard[lag : lag + len(said)]
    norm = np.linalg.norm(there) * np.linalg.norm(said[: len(there)])
    alike = float(there @ said[: len(there)] / norm) if norm else 0.0
    return lag * RATE_HZ // _EAR_HZ, alike


def resample(pcm: Array, from_hz: int, to_hz: int) -> Array:
    """By its spectrum: no delay, nothing aliased."""
    if from_hz == to_hz:
        return pcm
    length = round(len(pcm) * to_hz / from_hz)
    spectrum = np.fft.rfft(pcm)[: length // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, length) * (length / len(pcm)))


def sound_against_picture(
    sound: Sound, seen: Sequence[Seen], speech: Array, speech_hz: int, start: int
) -> list[float]:
    """Milliseconds by which the sound of a frame is later than its picture, twice a second.

    The picture's number says which 40 ms of speech it shows; each window of speech is looked for
    again in the sound, so that drift and stretching by the jitter buffer count.
    """
    shown = {one.number: one.at_s for one in seen if one.number >= 0}
    heard = resample(sound.pcm, RATE_HZ, _EAR_HZ)
    said = resample(speech, speech_hz, _EAR_HZ)
    base = start * _EAR_HZ // RATE_HZ
    window, slack = int(0.6 * _EAR_HZ), int(0.15 * _EAR_HZ)
    offsets = []
    loud = np.sqrt(np.mean(said**2)) * 0.3
    for frame in range(0, int((len(said) - window) / _EAR_HZ * _FPS), _FPS // 2):
        at = frame * _EAR_HZ // _FPS  # where the picture's own sound begins
        piece = said[at : at + window]
        low = base + at - slack
        if frame not in shown or low < 0 or np.sqrt(np.mean(piece**2)) < loud:
            continue
        around = heard[low : low + window + 2 * slack]
        if len(around) < len(piece):
            break
        lag = int(np.argmax(np.correlate(around, piece, "valid")))
        sample = (low + lag) * RATE_HZ // _EAR_HZ
        offsets.append((sound.time_of(sample) - shown[frame]) * 1000)
    return offsets


def pictures_during(seen: Sequence[Seen], start_s: float, frames: int) -> list[Seen]:
    """The picture on screen in the middle of each 40 ms from ``start_s``."""
    times = np.array([one.at_s for one in seen])
    wanted = start_s + (np.arange(frames) + 0.5) / _FPS
    index = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(seen) - 1)
    return [seen[i] for i in index]


def bgr(one: Seen) -> npt.NDArray[np.uint8]:
    """The kept picture."""
    if one.i420 is None:
        raise ValueError("this learner kept no pictures")
    w, h = one.size
    planes = np.frombuffer(one.i420, np.uint8).reshape(h * 3 // 2, w)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


def write_film(path: Path, learner: Learner) -> None:
    """MP4 of what was received: each picture at the time it was decoded, the sound likewise."""
    seen = [one for one in learner.seen if one.i420 is not None]
    zero = seen[0].at_s
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=_FPS, options={"crf": "20", "preset": "veryfast"})
        video.width, video.height = seen[0].size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = film.add_stream("aac", rate=RATE_HZ)
        audio.layout = "mono"
        last = -1
        for one in seen:
            w, h = one.size
            planes = np.frombuffer(one.i420 or b"", np.uint8).reshape(h * 3 // 2, w)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            last = frame.pts = max(last + 1, int((one.at_s - zero) * 1000))
            frame.time_base = Fraction(1, 1000)
            film.mux(video.encode(frame))
        film.mux(video.encode())
        _write_sound(film, audio, learner.heard, zero)


def _write_sound(
    film: av.container.OutputContainer, audio: av.AudioStream, heard: Sequence[Heard], zero: float
) -> None:
    kept = [one for one in heard if one.at_s >= zero]
    pcm = np.concatenate([one.pcm for one in kept])
    lead = max(0, int((kept[0].at_s - zero) * RATE_HZ) - len(kept[0].pcm))
    pcm = np.concatenate([np.zeros(lead, np.int16), pcm])
    for start in range(0, len(pcm) - 1024, 1024):
        frame = av.AudioFrame.from_ndarray(
            pcm[None, start : start + 1024], format="s16", layout="mono"
        )
        frame.sample_rate = RATE_HZ
        frame.pts = start
        film.mux(audio.encode(frame))
    film.mux(audio.encode())


def write_sheet(
    path: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    speech: Array,
    measured: Array,
    wanted: Array,
) -> None:
    """Every eighth received picture of a few seconds, over the waveform and the mouth's opening."""
    columns, side = 8, 192
    small = [
        cv2.resize(one[110:430, 96:416], (side, side), interpolation=cv2.INTER_AREA)
        for one in pictures[: columns * 4 * 4 : 4]
    ]
    rows = [np.hstack(small[i : i + columns]) for i in range(0, len(small), columns)]
    count = min(len(pictures), columns * 4 * 4)
    width = columns * side
    chart = np.full((220, width, 3), 255, np.uint8)
    samples = speech[: int(count / _FPS * _EAR_HZ)]
    peak = max(1e-9, float(np.abs(samples).max()))
    for x in range(width):
        part = samples[x * len(samples) // width : (x + 1) * len(samples) // width]
        if len(part):
            reach = int(float(np.abs(part).max()) / peak * 45)
            cv2.line(chart, (x, 50 - reach), (x, 50 + reach), (190, 170, 150), 1)
    for series, colour in ((wanted, (60, 160, 60)), (measured, (60, 60, 220))):
        values = series[:count] / max(1e-9, float(series.max()))
        xs = (np.arange(count) + 0.5) * width / count
        points = np.stack([xs, 212 - values * 100], axis=1).astype(np.int32)
        cv2.polylines(chart, [points], False, colour, 2, cv2.LINE_AA)
    for text, y, colour in (
        ("what was said", 18, (120, 100, 80)),
        ("opening asked for by the phonemes", 112, (60, 160, 60)),
        ("opening received", 128, (60, 60, 220)),
    ):
        cv2.putText(chart, text, (8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    cv2.imwrite(str(path), np.vstack([*rows, chart]))
