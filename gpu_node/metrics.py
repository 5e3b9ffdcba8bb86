"""What Prometheus reads, and the lateness that placement weighs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
_WINDOW_S = 60.0
FRAME_S = 0.04


class Lateness:
    """How late frames were handed over against their tick, over the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, late_s: float) -> None:
        """One frame's lateness, 0 where it was in time."""
        now = self._clock()
        self._seen.append((now, late_s))
        while self._seen[0][0] < now - _WINDOW_S:
            self._seen.popleft()

    def percentile_ms(self, percent: float, window_s: float = _WINDOW_S) -> float:
        """0.0 when no frame was handed over in that time."""
        since = self._clock() - window_s
        recent = [late for at, late in self._seen if at >= since]
        return min(60_000.0, float(np.percentile(recent, percent)) * 1000.0) if recent else 0.0


class Metrics:
    """One worker's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.lateness = Lateness()
        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        seconds = partial(Histogram, registry=registry, buckets=_BUCKETS_S)
        self.slots = gauge("rapido_slots", "Streams this worker can hold")
        self.sessions = gauge("rapido_sessions", "Sessions by state", ["state"])
        self.learners = gauge("rapido_learners", "Learners in this worker's rooms")
        self.frames = counter("rapido_frames_total", "Frames published", ["kind"])
        self.late_pictures = counter(
            "rapido_late_pictures_total", "Mouths not ready when their sound left"
        )
        self.frame_lateness = seconds("rapido_frame_lateness_seconds", "Frame against its tick")
        self.render = seconds("rapido_render_seconds", "Asked for a mouth until it was there")
        self.segments = counter("rapido_segments_total", "Speech segments by end", ["end"])
        self.events = counter("rapido_events_total", "Events to the cell", ["type", "result"])
        self.heartbeats = counter("rapido_heartbeats_total", "Heartbeats", ["result"])

    def late(self, late_s: float) -> None:
        """One frame's lateness."""
        self.lateness.add(late_s)
        self.frame_lateness.observe(late_s)

    def held(self) -> None:
        """A picture was not there in time: the one before it stayed, which is late by a frame."""
        self.late_pictures.inc()
        self.lateness.add(2 * FRAME_S)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
