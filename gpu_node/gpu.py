"""The GPU as NVML sees it: its load for the metrics, its faults for the watchdog."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pynvml
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gpu_node.settings import Codec

_FRESH_S = 1.0
_USABLE_S = 5.0
_PATIENCE_S = 0.02
"""Half a tick: a scrape must not cost a frame."""
_SILENT_S = 10.0
_PROGRAM_XIDS = frozenset((13, 31, 43, 45, 63, 68, 92, 94, 109))
"""A program's own fault, or one that was contained: CUDA tells the program that it concerns."""
_QUERIES: dict[Codec, int] = {
    "h264": pynvml.NVML_ENCODER_QUERY_H264,
    "av1": pynvml.NVML_ENCODER_QUERY_AV1,
}
_GONE = (
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_GPU_NOT_FOUND,
)
_log = logging.getLogger(__name__)


class GpuLost(Exception):
    """The driver says that the GPU is gone."""


@dataclass(frozen=True)
class GpuSample:
    """One look; None is what this GPU does not tell."""

    utilisation_percent: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    encoder_utilisation_percent: float | None = None
    encoder_sessions: float | None = None


class Device(Protocol):
    """One GPU; a call may take long, or never return, when the driver is in trouble.

    ``codecs``: what its video encoder makes; none where it has no encoder.
    """

    name: str
    codecs: frozenset[Codec]

    def read(self) -> GpuSample:
        """Raises GpuLost."""

    def xids(self) -> list[int]:
        """The critical errors that the driver reported since the last call."""


class NvmlDevice:
    """The first GPU. Raises pynvml.NVMLError where there is none."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.name = str(pynvml.nvmlDeviceGetName(self._handle))
        able = [codec for codec in _QUERIES if self._encodes(codec)]
        self.codecs = frozenset(able if able and _has_encoder_library() else ())
        self._events = None
        with suppress(pynvml.NVMLError):
            events = pynvml.nvmlEventSetCreate()
            kind = pynvml.nvmlEventTypeXidCriticalError
            pynvml.nvmlDeviceRegisterEvents(self._handle, kind, events)
            self._events = events

    def _encodes(self, codec: Codec) -> bool:
        capacity = partial(pynvml.nvmlDeviceGetEncoderCapacity, self._handle, _QUERIES[codec])
        try:
            return _ask(capacity) is not None
        except GpuLost:  # the watchdog tells it
            return False

    def read(self) -> GpuSample:
        """See Device."""
        handle, ask = self._handle, _ask
        return GpuSample(
            ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used),
            ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            ask(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
            ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000.0),
            ask(lambda: pynvml.nvmlDeviceGetEncoderUtilization(handle)[0]),
            ask(lambda: pynvml.nvmlDeviceGetEncoderStats(handle)[0]),
        )

    def xids(self) -> list[int]:
        """See Device."""
        seen: list[int] = []
        while self._events is not None:
            try:
                seen.append(int(pynvml.nvmlEventSetWait_v2(self._events, 0).eventData))
            except pynvml.NVMLError:
                break  # none is waiting; a lost GPU is told by ``read``
        return seen


def _has_encoder_library() -> bool:
    """A driver may lack it, as in a container without the capability ``video``; livekit would then
    encode in software without a word."""
    try:
        ctypes.CDLL("libnvidia-encode.so.1")
    except OSError:
        return False
    return True


def _ask(question: Callable[[], float]) -> float | None:
    try:
        return float(question())
    except pynvml.NVMLError as error:
        if error.value in _GONE:
            raise GpuLost(str(error)) from None
        return None


class Gpu:
    """Asks in a thread of its own, at most once a second, and waits for no answer."""

    def __init__(self, device: Device, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.codecs = device.name, device.codecs
        self._device = device
        self._clock = clock
        self._turn = threading.Condition()
        self._asked_at: float | None = None
        self._told: tuple[GpuSample | None, float] = (None, float("-inf"))
        self._lost: str | None = None
        self._xid: int | None = None
        threading.Thread(target=self._run, name="nvml", daemon=True).start()

    def latest(self, patience_s: float = _PATIENCE_S) -> GpuSample | None:
        """A sample of the last seconds, and asks for the next; None while there is none."""
        with self._turn:
            now = self._clock()
            if self._asked_at is None and now - self._told[1] >= _FRESH_S:
                self._asked_at = now
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._asked_at is None, patience_s)
            sample, at = self._told
            return sample if self._clock() - at <= _USABLE_S else None

    def fault(self) -> str | None:
        """Why the GPU cannot be used, as far as the driver knows; asks for the next sample."""
        self.latest(0.0)
        with self._turn:
            if self._xid is not None:
                return f"The driver reported Xid {self._xid} of the GPU."
            if self._lost is not None:
                return f"The driver lost the GPU: {self._lost}."
            if self._asked_at is not None and self._clock() - self._asked_at >= _SILENT_S:
                return f"The driver has not answered for {_SILENT_S:g} s."
            return None

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._asked_at is not None)
            sample, lost, xids = None, None, []
            try:
                xids = [x for x in self._device.xids() if x not in _PROGRAM_XIDS]
                sample = self._device.read()
            except GpuLost as error:
                lost = str(error)
            except Exception:  # noqa: BLE001 - told in the log; the next look asks again
                _log.exception("the GPU could not be read")
            with self._turn:
                self._told, self._lost = (sample, self._clock()), lost
                self._xid = xids[0] if xids else self._xid
                self._asked_at = None
                self._turn.notify_all()


def find() -> Gpu | None:
    """The first GPU; None without an NVIDIA driver or without a GPU."""
    try:
        return Gpu(NvmlDevice())
    except pynvml.NVMLError:
        return None


class GpuCollector(Collector):
    """The latest sample as gauges; what the GPU does not tell is absent."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Registering asks for names only, not for a sample."""
        for name, text in _SERIES.items():
            yield GaugeMetricFamily(f"rapido_gpu_{name}", text)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """At a scrape."""
        sample = self._gpu.latest()
        for name, text in _SERIES.items():
            value = getattr(sample, name, None)
            if value is not None:
                yield GaugeMetricFamily(f"rapido_gpu_{name}", text, value=value)


_SERIES = {
    "utilisation_percent": "Time that kernels ran",
    "memory_used_bytes": "Memory in use",
    "memory_total_bytes": "Memory there is",
    "temperature_celsius": "Of the chip",
    "power_watts": "Drawn",
    "encoder_utilisation_percent": "Of the video encoder",
    "encoder_sessions": "Streams in the video encoder",
}
