"""One registry for Prometheus and CloudWatch, and the lateness that placement weighs."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

Limit = Literal["gpu", "host_cpu", "memory", "encoder"]
Stage = Literal["wait", "features", "render", "network", "composition", "publication"]
Start = Literal["cold", "warm"]

_LATE_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
_STAGE_S = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02),
    *(0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.32, 0.64, 1.28, 2.56),
)
_FIRST_FRAME_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_BATCH = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_WINDOW_S = 60
_HELD_S = 0.08
"""A held picture counts as one that is late by twice its 40 ms."""


class Lateness:
    """How late frames were handed over by this worker's fault, over the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, array[float]]] = deque()

    def add(self, late_s: float) -> None:
        """One frame's lateness, 0 where it was in time."""
        now = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != now:
            self._seconds.append((now, array("d")))
            self._forget(now)
        self._seconds[-1][1].append(late_s)

    def percentile_ms(self, percent: float, window_s: int = _WINDOW_S) -> float:
        """0.0 when no frame was handed over in that time."""
        now = int(self._clock())
        self._forget(now)
        # a second's at once: one by one those of fifty streams would hold the loop for 5 ms
        recent = [np.frombuffer(late) for at, late in self._seconds if at >= now - window_s]
        if not recent:
            return 0.0
        return min(60_000.0, float(np.percentile(np.concatenate(recent), percent)) * 1000.0)

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0][0] < now - _WINDOW_S:
            self._seconds.popleft()


class Metrics:
    """One worker's figures, in a registry of their own; docs/worker.md explains each."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.lateness = Lateness()
        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        ProcessCollector(registry=registry)

        self.slots = gauge("rapido_slots", "Streams this worker announces to its cell")
        self._limits = gauge(
            "rapido_limit_slots", "Streams a resource holds; the least binds", ["resource"]
        )
        self._video = gauge(
            "rapido_video_info",
            "How its first avatar's pictures are encoded",
            ["codec", "encoder", "width", "height"],
        )
        self._encode = gauge(
            "rapido_encode_seconds", "Encoding one frame, in the trial", ["encoder"]
        )
        self.sessions = gauge("rapido_sessions", "Sessions by state", ["state"])
        self.learners = gauge("rapido_learners", "Learners in this worker's rooms")
        self.unhealthy = gauge("rapido_unhealthy", "1 while it is sick", ["what"])
        self.given_up = counter(
            "rapido_sessions_given_up_total", "Sessions that the watchdog ended", ["what"]
        )

        self.frames = counter("rapido_frames_total", "Frames queued with their sound", ["kind"])
        self.held = counter(
            "rapido_frames_held_total", "Pictures not ready before the next was due"
        )
        self.dropped = counter(
            "rapido_frames_dropped_total", "Speaking pictures that an interruption dropped"
        )
        self.frame_lateness = histogram(
            "rapido_frame_lateness_seconds", "Frame against its tick", buckets=_LATE_S
        )
        self._stages = histogram(
            "rapido_stage_seconds", "A stage's time", ["stage"], buckets=_STAGE_S
        )
        self.picture = histogram(
            "rapido_picture_seconds", "Asked for a picture until it was there", buckets=_STAGE_S
        )
        self.batch = histogram("rapido_batch_frames", "Pictures a batch", buckets=_BATCH)
        self._first_frame = histogram(
            "rapido_first_frame_seconds",
            "Asked for a stream until its first frame was handed over",
            ["start"],
            buckets=_FIRST_FRAME_S,
        )
        self.segments = counter("rapido_segments_total", "Speech segments by end", ["end"])

        self.events = counter("rapido_events_total", "Events to the cell", ["type", "result"])
        self.heartbeats = counter("rapido_heartbeats_total", "Heartbeats", ["result"])

    def limit(self, name: Limit, slots: float) -> None:
        """How many streams the resource ``name`` holds by itself; the least of them binds."""
        self._limits.labels(name).set(slots)

    def video(self, codec: str, encoder: str, width: int, height: int) -> None:
        """How pictures are encoded, and their size in px."""
        self._video.labels(codec, encoder, str(width), str(height)).set(1)

    def encode(self, encoder: str, took_s: float) -> None:
        """What encoding one frame took."""
        self._encode.labels(encoder).set(took_s)

    def late(self, late_s: float) -> None:
        """One frame's lateness."""
        self.lateness.add(late_s)
        self.frame_lateness.observe(late_s)

    def hold(self, by_its_voice: bool) -> None:
        """A picture was not there in time, so the one before it stayed; ``by_its_voice`` where the
        sound that its mouth needs came too late."""
        self.held.inc()
        if not by_its_voice:
            self.lateness.add(_HELD_S)

    def stage(self, stage: Stage, took_s: float) -> None:
        """What a batch (``wait`` and ``publication``: a frame) spent there. From any thread."""
        self._stages.labels(stage).observe(took_s)

    def first_frame(self, took_s: float, start: Start) -> None:
        """``warm``: the room was joined before anyone asked."""
        self._first_frame.labels(start).observe(took_s)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
