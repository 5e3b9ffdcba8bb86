"""One utterance: its sound for the room, its mel windows for the mouth, frame by frame.

Frame i is the 40 ms of sound from 40 i, and its mouth needs the sound up to 40 i + 452 ms. Its own
sound may leave a little before that is there: the picture is shown later than it leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gpu_node import features
from gpu_node.pcm import (
    MODEL_RATE_HZ,
    PLAYOUT_RATE_HZ,
    PcmFormat,
    PcmReader,
    Resampler,
    SampleQueue,
)

FRAME_S = 1.0 / features.FPS
FRAME_SAMPLES = PLAYOUT_RATE_HZ // features.FPS
_MODEL_STEP = MODEL_RATE_HZ // features.FPS
PICTURE_LATER_S = 0.04
"""A picture is shown so much later than its sound leaves: receivers delay sound by that."""
_MOUTH_LOOKAHEAD_S = 0.4545  # 0.4525 and what the resamplers hold back
_SOUND_LOOKAHEAD_S = _MOUTH_LOOKAHEAD_S - PICTURE_LATER_S
_LONGEST_UNPLAYED_S = 600
_KEPT_FEATURES = 64
_REBUFFER_S = 0.3
"""More sound that is waited for once it came too slowly: it may do so again."""
LOST_END_S = 10.0
"""A segment that gets no sound for so long has lost its end."""

Array = npt.NDArray[np.float32]
_numbers = itertools.count(1)


class Segment:
    """``reported``: its speaker follows the playback and is told its start and end."""

    def __init__(
        self,
        sender: str,
        pcm: PcmFormat,
        *,
        reported: bool,
        margin_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = next(_numbers)
        self.sender = sender
        self.reported = reported
        self.margin_s = margin_s
        self.rebuffer_s = _REBUFFER_S
        self.frame = 0
        self.ended = False
        self.arrived = asyncio.Event()
        self.truncated = False
        self.lost_end_s = LOST_END_S
        self.first_feature = 0
        self.features: list[Array] = []
        self._clock = clock
        self._written_at = clock()
        self._ended_at = math.inf
        self._reached: deque[tuple[float, float]] = deque()
        """How much sound there was, in seconds, and since when."""
        self._reader = PcmReader(pcm)
        self._rate_hz = pcm.sample_rate_hz
        self._raw = SampleQueue()
        self._playout = (Resampler(pcm.sample_rate_hz, PLAYOUT_RATE_HZ), SampleQueue())
        self._model = (Resampler(pcm.sample_rate_hz, MODEL_RATE_HZ), SampleQueue())
        self._flushed = False
        self._mel = features.MelStream()
        self._windows = 0

    def write(self, data: bytes) -> None:
        """Adds sound, in pieces of any length; none is taken after ``end``.

        Past ten minutes not yet played the rest is dropped, and ``truncated`` says so.
        """
        if self.ended:
            return
        self._written_at = self._clock()
        if len(self._raw) > _LONGEST_UNPLAYED_S * self._rate_hz:
            self.truncated = True
            return
        self._raw.put(self._reader.read(data))
        self._reached.append((self.duration_s, self._written_at))
        self.arrived.set()

    def end(self) -> None:
        """No more sound comes. Harmless when repeated."""
        self._ended_at = min(self._ended_at, self._clock())
        self.ended = True
        self._resample(0.0)
        self.arrived.set()

    def _resample(self, seconds: float) -> None:
        """No more than is needed: a minute that comes at once must not stop the clock."""
        while len(self._raw):
            missing_s = seconds - self._model[1].received / MODEL_RATE_HZ
            if missing_s <= 0.0:
                break
            raw = self._raw.take(max(self._rate_hz // features.FPS, int(missing_s * self._rate_hz)))
            for resampler, queue in (self._playout, self._model):
                queue.put(resampler.push(raw))
        if self.ended and not len(self._raw) and not self._flushed:
            self._flushed = True
            for resampler, queue in (self._playout, self._model):
                queue.put(resampler.flush())

    @property
    def idle_s(self) -> float:
        """Since sound last came."""
        return self._clock() - self._written_at

    @property
    def duration_s(self) -> float:
        """Of what came so far."""
        return self._raw.received / self._rate_hz

    @property
    def done(self) -> bool:
        """Every frame was taken and no more can come."""
        return self._flushed and len(self._playout[1]) == 0

    def ready(self, margin_s: float = 0.0) -> bool:
        """May the next frame's sound leave? Its mouth will have enough sound in time, and where
        that comes as it is spoken, ``margin_s`` is kept for what comes late."""
        if self.ended:
            return not self.done
        return self.duration_s >= self.frame * FRAME_S + _SOUND_LOOKAHEAD_S + margin_s

    def take(self) -> npt.NDArray[np.int16]:
        """The next frame's sound, int16 (1920,) at 48 kHz."""
        self._resample((self.frame + 1) * FRAME_S + _SOUND_LOOKAHEAD_S)
        sound = self._playout[1].take(FRAME_SAMPLES)
        if sound.size < FRAME_SAMPLES:
            sound = np.concatenate([sound, np.zeros(FRAME_SAMPLES - sound.size, np.int16)])
        self.frame += 1
        return sound

    def heard_at(self, frame: int) -> float:
        """When all the sound that the frame's mouth looks ahead to, or the end, was there; infinity
        where it is not. Forgets what only frames long before this one need."""
        reached = self._reached
        while reached and reached[0][0] < _heard_for(frame - _KEPT_FEATURES):
            reached.popleft()
        at = bisect_left(reached, (_heard_for(frame), 0.0))
        return reached[at][1] if at < len(reached) else self._ended_at

    async def heard(self, frame: int) -> None:
        """Waits until that is there."""
        while self.heard_at(frame) == math.inf:
            self.arrived.clear()
            await self.arrived.wait()

    def windows(self, frame: int) -> list[Array]:
        """The mel windows up to those of ``frame`` that were not given yet.

        Their features belong to ``features`` in this order before the mouth is drawn.
        """
        self._resample(_heard_for(frame + 1))
        fresh: list[Array] = []
        wanted = frame + features.LOOKAHEAD_FRAMES
        while self._windows < wanted:
            step = self._model[1].take(_MODEL_STEP * (wanted - self._windows))
            if step.size:
                self._mel.push(step.astype(np.float32) / 32768.0)
            elif self.ended:
                self._mel.finish()
            windows = self._mel.windows()
            self._windows += len(windows)
            fresh.extend(windows)
            if not step.size and not windows:
                break
        return fresh

    def windows_so_far(self) -> list[Array]:
        """Those among them that the next frame's mouth will need and whose sound is there already.

        At the start that mouth needs eight at once: what is heard while the sound still comes need
        not be heard when it is due.
        """
        heard = math.floor((self.duration_s - _MOUTH_LOOKAHEAD_S) / FRAME_S)
        return self.windows(min(heard, self.frame))

    def audio_window(self, frame: int) -> Array:
        """(16, 512) around ``frame``; zeros beyond either end. Forgets what no frame needs."""
        spare = frame - self.first_feature - _KEPT_FEATURES
        if spare > 0:
            del self.features[:spare]
            self.first_feature += spare
        return features.audio_window(self.features, frame - self.first_feature)


def _heard_for(frame: int) -> float:
    """Seconds of sound that the frame's mouth needs."""
    return frame * FRAME_S + _MOUTH_LOOKAHEAD_S
