"""The mel front end of the audio-visual encoder, streaming, in numpy.

Numbers (SyncTalk 2D): 16 kHz, pre-emphasis 0.97, n_fft = window = 800, hop 200, centred, Hann, zero
padded; amplitude; 80 Slaney mels 55-7600 Hz; 20 log10(max(1e-5, x)) - 20, then
clip(8 (S + 100) / 100 - 4, -4, 4). Frame k takes mel columns int(3.2 k) .. + 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
FPS = 25
LOOKAHEAD_FRAMES = 8
N_FFT, HOP, N_MELS, COLUMNS = 800, 200, 80, 16
FEATURES = 512
PRE_EMPHASIS = 0.97
SHORTEST = (COLUMNS - 1) * HOP  # samples that give one window

Array = npt.NDArray[np.float32]


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slaney's scale: linear to 1 kHz, then 27 steps to each factor of 6.4."""
    log_step = np.log(6.4) / 27.0
    return np.where(
        hz < 1000.0, hz * 3.0 / 200.0, 15.0 + np.log(np.maximum(hz, 1e-9) / 1000.0) / log_step
    )


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    log_step = np.log(6.4) / 27.0
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(log_step * (mel - 15.0)))


@cache
def mel_basis() -> Array:
    """(80, 401) triangles of equal area over the bins of an 800 point transform."""
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1)
    low, high = _hz_to_mel(np.array([55.0, 7600.0]))
    edges = _mel_to_hz(np.linspace(low, high, N_MELS + 2))
    rise = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0.0, np.minimum(rise, fall)) * area[:, None]).astype(np.float32)


@cache
def _hann() -> Array:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


def _columns(samples: Array) -> Array:
    """Mel columns (n, 80) of pre-emphasised samples that begin 400 before the first column."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP]
    amplitude = np.abs(np.fft.rfft(frames * _hann(), axis=1)).astype(np.float32)
    level = 20.0 * np.log10(np.maximum(1e-5, amplitude @ mel_basis().T)) - 20.0
    mel: Array = np.clip(8.0 * (level + 100.0) / 100.0 - 4.0, -4.0, 4.0).astype(np.float32)
    return mel


class MelStream:
    """Mel windows of a speech that arrives in pieces: the numbers of the whole at once,
    but for the last bit of rounding.

    A window leaves as soon as its audio is there. The first one is given twice, and `finish` gives
    the last one twice, as SyncTalk 2D duplicates its end features: window i is feature i of
    `audio_window`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push begins a new speech."""
        self._samples = np.zeros(N_FFT // 2, np.float32)
        self._previous = np.float32(0.0)
        self._total = 0
        self._mel = np.zeros((0, N_MELS), np.float32)
        self._mel_start = 0
        self._next = 0
        self._ready: list[Array] = []
        self._finished = False

    def push(self, pcm16k: Array) -> None:
        """Add mono speech, float32 in -1..1 at 16 kHz, of any length.

        Raises ValueError for samples that are not finite, not one-dimensional, or after `finish`.
        """
        pcm = np.asarray(pcm16k)
        if pcm.ndim != 1 or not np.issubdtype(pcm.dtype, np.floating):
            raise ValueError(
                f"pcm16k: {pcm.dtype} of shape {pcm.shape}; give one row of floating samples"
            )
        if self._finished:
            raise ValueError("pcm16k: this speech is finished; call reset() before the next one")
        if not np.isfinite(pcm).all():
            raise ValueError("pcm16k: NaN or infinite samples; drop the damaged piece")
        if pcm.size == 0:
            return
        self._total += pcm.size
        self._append(pcm.astype(np.float32))

    def windows(self) -> list[Array]:
        """The windows that became ready since the last call: float32 (80, 16) each."""
        ready, self._ready = self._ready, []
        return ready

    def finish(self) -> None:
        """End the speech: zero pad it and make its last windows ready. Harmless when repeated.

        A speech shorter than one window (187.5 ms) is first filled with silence; an empty one
        gives no window.
        """
        if self._finished:
            return
        self._finished = True
        if self._total == 0:
            return
        if self._total < SHORTEST:
            self._append(np.zeros(SHORTEST - self._total, np.float32))
            self._total = SHORTEST
        # the padding is of the pre-emphasised signal, so no difference is taken across the end
        self._samples = np.concatenate([self._samples, np.zeros(N_FFT // 2, np.float32)])
        self._transform()
        columns = self._mel_start + len(self._mel)
        count = int((columns - COLUMNS) / 80.0 * FPS) + 2
        while self._next < count:
            self._emit(min(self._next * 16 // 5, columns - COLUMNS))
        self._ready.append(self._ready[-1] if self._ready else self._last)

    def _append(self, pcm: Array) -> None:
        shifted = np.concatenate([[self._previous], pcm[:-1]])
        self._previous = pcm[-1]
        flat = (pcm - np.float32(PRE_EMPHASIS) * shifted).astype(np.float32)
        self._samples = np.concatenate([self._samples, flat])
        self._transform()
        while self._next * 16 // 5 + COLUMNS <= self._mel_start + len(self._mel):
            self._emit(self._next * 16 // 5)

    def _transform(self) -> None:
        if len(self._samples) < N_FFT:
            return
        fresh = _columns(self._samples)
        self._samples = self._samples[len(fresh) * HOP :]
        self._mel = np.concatenate([self._mel, fresh])

    def _emit(self, start: int) -> None:
        at = start - self._mel_start
        self._last = np.ascontiguousarray(self._mel[at : at + COLUMNS].T)
        self._ready.append(self._last)
        if self._next == 0:
            self._ready.append(self._last)
        self._next += 1
        spare = len(self._mel) - 2 * COLUMNS
        if spare > 4 * COLUMNS:
            done = min(spare, max(0, at - COLUMNS))
            self._mel, self._mel_start = self._mel[done:], self._mel_start + done


def audio_window(features: Sequence[Array], frame: int) -> Array:
    """Features [frame - 8, frame + 8) as float32 (16, 512); zeros beyond either end."""
    out = np.zeros((2 * LOOKAHEAD_FRAMES, FEATURES), np.float32)
    first = frame - LOOKAHEAD_FRAMES
    for row in range(2 * LOOKAHEAD_FRAMES):
        if 0 <= first + row < len(features):
            out[row] = features[first + row]
    return out
