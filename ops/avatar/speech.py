"""Synthesised speech with the mouth shapes its phonemes ask for (espeak-ng, bundled)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import espeakng_loader
import numpy as np
import numpy.typing as npt

from ops.avatar.texts import HELD_OUT_TEXT
from ops.avatar.visemes import Array, course

SAMPLE_RATE_HZ = 16_000
HELD_OUT_VOICES = ("en-us+f5", "en-us+m4")

_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8 = 2, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_PHONEME, _END = 7, 0


class SpeechError(Exception):
    """Speech cannot be synthesised; the message says what to change."""


@dataclass(frozen=True)
class Speech:
    """Mono speech with its phonemes (name, start in s) and the mouth of each 40 ms frame.

    pcm: float32 in -1..1. openings: (n,) 0..1. mouths: (n, 4) opening, width, teeth, tongue.
    """

    pcm: Array
    sample_rate: int
    phonemes: list[tuple[str, float]]
    openings: Array
    mouths: Array

    def first(self, seconds: float) -> Speech:
        """The beginning of it, to a whole frame."""
        frames = int(seconds * 25)
        return Speech(
            self.pcm[: frames * self.sample_rate // 25],
            self.sample_rate,
            [(name, at_s) for name, at_s in self.phonemes if at_s < frames / 25],
            self.openings[:frames],
            self.mouths[:frames],
        )

    @property
    def speaking(self) -> npt.NDArray[np.bool_]:
        """(n,): which frames are speech, not pause."""
        flags = np.zeros(len(self.openings), bool)
        ends = [start for _, start in self.phonemes[1:]] + [len(self.pcm) / self.sample_rate]
        for (name, start_s), end_s in zip(self.phonemes, ends, strict=True):
            if not name.startswith("_"):
                flags[int(start_s * 25) : int(np.ceil(end_s * 25))] = True
        return flags


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Espeak:
    """The espeak-ng library of this process; it has one global state."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self._rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS)
        if self._rate_hz <= 0:
            raise SpeechError("espeak-ng did not start; install espeakng-loader again")
        self._pieces: list[Array] = []
        self._phonemes: list[tuple[str, float]] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wav: object, count: int, events: object) -> int:
        if count > 0:
            samples: Array = np.ctypeslib.as_array(wav, (count,)).astype(np.float32)
            self._pieces.append(samples / np.float32(32768))
        index = 0
        while events[index].type != _END:  # type: ignore[index]
            event = events[index]  # type: ignore[index]
            if event.type == _PHONEME:
                name = event.id.string.decode("utf-8", "replace")
                self._phonemes.append((name, event.audio_position / 1000))
            index += 1
        return 0

    def say(
        self, text: str, voice: str, rate_wpm: int, pitch: int, pitch_range: int
    ) -> tuple[Array, int, list[tuple[str, float]]]:
        self._pieces, self._phonemes = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechError(f"voice: espeak-ng has no {voice!r}; try 'en-us' or 'en-us+f3'")
        for parameter, value in ((_RATE, rate_wpm), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        self._library.espeak_Synth(encoded, size, 0, 0, 0, _UTF8, None, None)
        if not self._pieces:
            raise SpeechError("text: nothing in it can be spoken; give words")
        return np.concatenate(self._pieces), self._rate_hz, self._phonemes


@cache
def _espeak() -> _Espeak:
    return _Espeak()


def resample(pcm: Array, from_hz: int, to_hz: int) -> Array:
    """Band-limited resampling of a whole piece by its spectrum."""
    if from_hz == to_hz or not len(pcm):
        return pcm
    length = round(len(pcm) * to_hz / from_hz)
    spectrum = np.fft.rfft(pcm)[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * (length / len(pcm))).astype(np.float32)


def synthesise(
    text: str,
    voice: str = "en-us",
    rate_wpm: int = 165,
    pitch: int = 50,
    pitch_range: int = 50,
    sample_rate: int = SAMPLE_RATE_HZ,
) -> Speech:
    """Speak `text`: mono float32 at `sample_rate` with phonemes and mouths.

    Raises SpeechError for an unknown voice or a text without words.
    """
    pcm, rate_hz, phonemes = _espeak().say(text, voice, rate_wpm, pitch, pitch_range)
    mouths = course(phonemes, len(pcm) / rate_hz)
    pcm = resample(pcm, rate_hz, sample_rate)
    return Speech(pcm, sample_rate, phonemes, np.ascontiguousarray(mouths[:, 0]), mouths)


def join(parts: list[Speech], pause_s: float = 0.6) -> Speech:
    """One speech of several of the same rate, with silence before, between and after."""
    rate = parts[0].sample_rate
    frames = round(pause_s * 25)
    quiet = np.zeros(frames * rate // 25, np.float32)
    pcm, phonemes, mouths = [quiet], [("_", 0.0)], [course([], frames / 25)]
    at_s = frames / 25
    for part in parts:
        whole = len(part.mouths) * rate // 25  # cut to whole frames so that the parts stay in step
        pcm += [part.pcm[:whole], quiet]
        end_s = at_s + len(part.mouths) / 25
        phonemes += [(n, s + at_s) for n, s in part.phonemes if s + at_s < end_s] + [("_", end_s)]
        mouths += [part.mouths, course([], frames / 25)]
        at_s = end_s + frames / 25
    shapes = np.concatenate(mouths)
    return Speech(np.concatenate(pcm), rate, phonemes, shapes[:, 0].copy(), shapes)


def held_out(sample_rate: int = SAMPLE_RATE_HZ) -> Speech:
    """At least 45 s of sentences and voices no avatar of ours was trained on, with pauses."""
    parts = []
    for index, text in enumerate(HELD_OUT_TEXT):
        voice = HELD_OUT_VOICES[index % len(HELD_OUT_VOICES)]
        parts.append(synthesise(text, voice, 150 + 6 * (index % 3), 45 + 5 * (index % 4), 50,
                                sample_rate))  # fmt: skip
    return join(parts, 0.8)
