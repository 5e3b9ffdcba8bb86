"""Speech as bytes arrive: any supported rate and channels, cut anywhere, to 48 and 16 kHz mono."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

PLAYOUT_RATE_HZ = 48_000
MODEL_RATE_HZ = 16_000
_RATES_HZ = (8_000, 48_000)

Samples = npt.NDArray[np.int16]
_NONE: Samples = np.zeros(0, np.int16)


class FormatError(ValueError):
    """The speaker described its sound wrongly; the message names the field and the remedy."""


@dataclass(frozen=True)
class PcmFormat:
    """Raw s16, little endian, interleaved."""

    sample_rate_hz: int
    channels: int


def read_format(attributes: Mapping[str, str]) -> PcmFormat:
    """The format a byte stream's attributes tell. Raises FormatError."""
    rate = _whole(attributes, "sample_rate", "24000")
    if not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
        raise FormatError(
            f"sample_rate {rate} is out of range; send {_RATES_HZ[0]} to {_RATES_HZ[1]}"
        )
    channels = _whole(attributes, "num_channels", "1")
    if channels not in (1, 2):
        raise FormatError(f"num_channels {channels} is not supported; send 1 or 2")
    return PcmFormat(rate, channels)


def _whole(attributes: Mapping[str, str], name: str, example: str) -> int:
    text = attributes.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise FormatError(
            f"{name} is {text[:20]!r}, not a whole number; send it as text, as {example!r}"
        )
    return int(text)


class PcmReader:
    """Bytes to mono samples, whatever the pieces; a frame cut in half waits for its other half."""

    def __init__(self, pcm: PcmFormat) -> None:
        self._channels = pcm.channels
        self._rest = b""

    def read(self, data: bytes) -> Samples:
        """The whole frames there are now."""
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        samples: Samples = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        if self._channels == 1:
            return samples
        pairs = samples.reshape(-1, 2).astype(np.int32)
        mono: Samples = (pairs.sum(axis=1) // 2).astype(np.int16)
        return mono


class Resampler:
    """Mono s16 from one rate to another; the very samples where the rates are the same.

    Holds back at most 2 ms (measured; LiveKit's own holds back 38 ms of 48 kHz): the mouth waits
    for what is held back.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._swr = None
        if from_hz != to_hz:
            self._swr = av.AudioResampler(format="s16", layout="mono", rate=to_hz)

    def push(self, samples: Samples) -> Samples:
        """What came out by now."""
        if self._swr is None or samples.size == 0:
            return samples
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._from_hz
        return _joined(self._swr.resample(frame))

    def flush(self) -> Samples:
        """The last samples."""
        return _joined(self._swr.resample(None)) if self._swr is not None else _NONE


def _joined(frames: list[av.AudioFrame]) -> Samples:
    parts = [one.to_ndarray().reshape(-1) for one in frames]
    return np.concatenate(parts, dtype=np.int16) if parts else _NONE


class SampleQueue:
    """Samples in, samples out, in order."""

    def __init__(self) -> None:
        self._parts: deque[Samples] = deque()
        self.received = 0
        self.taken = 0

    def __len__(self) -> int:
        return self.received - self.taken

    def put(self, samples: Samples) -> None:
        """Adds to the end."""
        if samples.size:
            self._parts.append(samples)
            self.received += samples.size

    def take(self, most: int) -> Samples:
        """Up to ``most`` samples from the front."""
        taken: list[Samples] = []
        while most > 0 and self._parts:
            part = self._parts.popleft()
            if part.size > most:
                self._parts.appendleft(part[most:])
                part = part[:most]
            taken.append(part)
            most -= part.size
            self.taken += part.size
        return np.concatenate(taken) if taken else np.zeros(0, np.int16)
