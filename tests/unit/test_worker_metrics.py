"""The worker's figures: where they come from, and the two ways they go out."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
import pynvml
import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict, Field

from gpu_node import gpu as gpu_module
from gpu_node import settings
from gpu_node.emf import Emf, document
from gpu_node.engine.port import Timing
from gpu_node.gpu import Gpu, GpuCollector, GpuLost, GpuSample, NvmlDevice, find
from gpu_node.inference import Inference, Work
from gpu_node.metrics import Lateness, Metrics
from gpu_node.pcm import PcmFormat
from gpu_node.segment import Segment

PAGE = Path(__file__).parents[2] / "docs" / "worker.md"
WHERE = {"region": "us-east-1", "gpu": "NVIDIA L4"}
WHO = {"worker_id": "w-1"}


class Card:
    """A GPU without a video encoder."""

    name, codecs = "NVIDIA L4", frozenset[str]()

    def __init__(self) -> None:
        self.reads = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def read(self) -> GpuSample:
        self.may_answer.wait()
        self.reads += 1
        return GpuSample(71.0, 2.0e9, 24.0e9, 55.0, 68.5)

    def xids(self) -> list[int]:
        return []


class EmfMetric(BaseModel):
    """A MetricDefinition of the specification."""

    model_config = ConfigDict(extra="forbid", strict=True)
    Name: Annotated[str, Field(min_length=1, max_length=1024)]
    Unit: Literal["Seconds", "Bytes", "Percent", "Count", "None"]


class EmfDirective(BaseModel):
    """A MetricDirective."""

    model_config = ConfigDict(extra="forbid", strict=True)
    Namespace: Annotated[str, Field(min_length=1, max_length=1024)]
    Dimensions: Annotated[
        list[Annotated[list[str], Field(min_length=1, max_length=30)]], Field(min_length=1)
    ]
    Metrics: Annotated[list[EmfMetric], Field(min_length=1, max_length=100)]


class EmfHead(BaseModel):
    """The ``_aws`` member."""

    model_config = ConfigDict(extra="forbid", strict=True)
    Timestamp: int
    CloudWatchMetrics: Annotated[list[EmfDirective], Field(min_length=1)]


def parse(line: str) -> dict[str, float | list[float]]:
    """The metrics that CloudWatch would extract. Fails where the specification is not kept."""
    root = json.loads(line)
    values: dict[str, float | list[float]] = {}
    for directive in EmfHead.model_validate(root["_aws"]).CloudWatchMetrics:
        for dimension in directive.Dimensions[0]:
            assert isinstance(root[dimension], str)
            assert 0 < len(root[dimension]) <= 1024
        for metric in directive.Metrics:
            value = root[metric.Name]
            for one in value if isinstance(value, list) else [value]:
                assert isinstance(one, (int, float))
                assert not isinstance(one, bool)
            assert not isinstance(value, list) or 0 < len(value) <= 100
            assert metric.Name not in values
            values[metric.Name] = value
    return values


def filled() -> Metrics:
    """A worker with a GPU that has seen everything once."""
    metrics = Metrics()
    gpu = Gpu(Card())
    assert gpu.latest(10.0) is not None
    metrics.registry.register(GpuCollector(gpu))
    metrics.limit("gpu", 12.0)
    metrics.video("h264", "nvenc", 512, 512)
    metrics.encode("nvenc", 0.003)
    metrics.sessions.labels("live").set(3)
    metrics.unhealthy.labels("engine").set(0)
    metrics.given_up.labels("frames").inc()
    metrics.frames.labels("idle").inc()
    metrics.stage("network", 0.02)
    metrics.first_frame(0.3, "warm")
    metrics.segments.labels("played").inc()
    metrics.events.labels("ended", "accepted").inc()
    metrics.heartbeats.labels("accepted").inc()
    return metrics


def lines(registry: CollectorRegistry, count: int) -> list[dict[str, float | list[float]]]:
    written: list[str] = []
    emf = Emf(registry, WHERE, WHO, written.append, lambda: 1_700_000_000.0)
    for _ in range(count):
        emf.line()
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in written)
    return [parse(line) for line in written]


def test_a_line_is_what_cloudwatch_extracts_metrics_from() -> None:
    made, _ = document(filled().registry.collect(), {}, WHERE, WHO, 1_700_000_000_000)

    values = parse(json.dumps(made))

    assert made["worker_id"] == "w-1"
    assert made["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["region", "gpu"]]
    assert values["sessions_live"] == 3.0
    assert values["limit_slots_gpu"] == 12.0
    assert values["gpu_memory_total_bytes"] == 24.0e9
    assert values["first_frame_seconds_warm_count"] == 1.0
    assert values["process_resident_memory_bytes"] > 1e6


def test_counters_are_told_as_what_was_added_since_the_last_line() -> None:
    metrics = Metrics()
    metrics.frames.labels("speaking").inc(7)
    emf_lines: list[str] = []
    emf = Emf(metrics.registry, WHERE, WHO, emf_lines.append)

    emf.line()
    metrics.frames.labels("speaking").inc(5)
    metrics.late(0.01)
    emf.line()
    emf.line()

    told = [parse(line) for line in emf_lines]
    assert [one["frames_speaking"] for one in told] == [7.0, 5.0, 0.0]
    assert [one["frame_lateness_seconds_count"] for one in told] == [0.0, 1.0, 0.0]
    assert ["frame_lateness_seconds" in one for one in told] == [False, True, False]


def test_a_histogram_is_told_by_values_that_lie_as_the_observations_did() -> None:
    metrics = Metrics()
    taken_s = np.random.default_rng(7).gamma(4.0, 0.003, 5_000)
    for one in taken_s:
        metrics.stage("network", float(one))

    (told,) = lines(metrics.registry, 1)

    values = told["stage_seconds_network"]
    assert isinstance(values, list)
    assert told["stage_seconds_network_count"] == 5_000
    assert len(values) == 100
    for share in (10, 50, 90, 99):
        assert np.percentile(values, share) == pytest.approx(np.percentile(taken_s, share), rel=0.1)
    assert np.mean(values) == pytest.approx(taken_s.mean(), rel=0.05)


def test_few_observations_are_told_one_by_one_and_those_past_all_bounds_at_the_last() -> None:
    metrics = Metrics()
    metrics.first_frame(0.26, "cold")
    metrics.first_frame(99.0, "cold")

    (told,) = lines(metrics.registry, 1)

    first, last = told["first_frame_seconds_cold"]
    assert 0.25 <= first <= 0.3
    assert last == 10.0


def test_every_metric_is_in_the_workers_page_with_its_labels_and_no_other() -> None:
    known = {}
    for family in filled().registry.collect():
        of_family = [one for one in family.samples if not one.name.endswith("_created")]
        counted = [one.name for one in of_family if one.name.endswith("_total")]
        labels = set().union(*(one.labels for one in of_family)) - {"le"}
        known[counted[0] if counted else family.name] = labels
    for family in GpuCollector(Gpu(Card())).describe():
        known[family.name] = set()

    rows = re.findall(r"^\| `((?:rapido|process)_\w+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE)

    assert {name: set(re.findall(r"`(\w+)`:", labels)) for name, labels in rows} == known


def test_every_setting_is_in_the_workers_page_and_no_other() -> None:
    read = set(re.findall(r"RAPIDO_[A-Z_]+", inspect.getsource(settings)))

    told = set(re.findall(r"^\| `(RAPIDO_[A-Z_]+)`", PAGE.read_text(), re.MULTILINE))

    assert told == read


def test_a_picture_held_for_its_voice_is_counted_but_not_the_workers_lateness() -> None:
    metrics = Metrics()
    metrics.hold(by_its_voice=True)
    assert metrics.lateness.percentile_ms(99) == 0.0

    metrics.hold(by_its_voice=False)

    assert metrics.lateness.percentile_ms(99) == pytest.approx(80.0)
    assert metrics.registry.get_sample_value("rapido_frames_held_total") == 2.0


def test_lateness_is_that_of_the_last_minute() -> None:
    now = [0.0]
    lateness = Lateness(lambda: now[0])
    assert lateness.percentile_ms(95) == 0.0
    for at in range(90):
        now[0] = float(at)
        for late_ms in range(101):
            lateness.add((late_ms + (1_000 if at < 25 else 0)) / 1000)

    assert lateness.percentile_ms(95) == pytest.approx(95.0)
    now[0] += 61.0
    assert lateness.percentile_ms(95) == 0.0


class Engine:
    """Takes its time, by a clock that it moves."""

    callers = 1

    def __init__(self, clock: list[float], timed: bool) -> None:
        self.clock = clock
        if timed:
            self.last_timing = Timing(0.0, 0.0)

    def encode(self, avatar: object, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.clock[0] += 0.002
        return [np.zeros(512, np.float32) for _ in windows]

    def render(self, jobs: Sequence[object]) -> list[np.ndarray]:
        self.clock[0] += 0.013
        if hasattr(self, "last_timing"):
            self.last_timing = Timing(0.01, 0.003)
        return [np.zeros((3, 2), np.uint8) for _ in jobs]

    def close(self) -> None:
        """Nothing was loaded."""


@pytest.mark.parametrize("timed", [True, False])
def test_a_batch_is_measured_stage_by_stage(timed: bool) -> None:
    clock, metrics = [50.0], Metrics()
    inference = Inference(Engine(clock, timed), metrics, lambda: clock[0])
    avatar = object()

    async def scene() -> None:
        segments = [Segment("agent", PcmFormat(16_000, 1), reported=False) for _ in range(3)]
        window = [np.zeros((80, 16), np.float32)]
        works = [Work(avatar, 0, segment, 0, window) for segment in segments]
        await asyncio.gather(*(inference.picture(work) for work in works))

    asyncio.run(scene())
    assert inference.close()

    def spent(stage: str) -> tuple[float | None, float | None]:
        value, labels = metrics.registry.get_sample_value, {"stage": stage}
        name = "rapido_stage_seconds"
        return value(f"{name}_count", labels), value(f"{name}_sum", labels)

    assert spent("wait") == (3.0, pytest.approx(0.0))
    assert spent("features") == (1.0, pytest.approx(0.002))
    assert spent("render") == (1.0, pytest.approx(0.013))
    assert spent("network") == ((1.0, pytest.approx(0.01)) if timed else (None, None))
    assert spent("composition") == ((1.0, pytest.approx(0.003)) if timed else (None, None))
    assert metrics.registry.get_sample_value("rapido_batch_frames_sum") == 3.0
    assert metrics.registry.get_sample_value("rapido_picture_seconds_count") == 3.0


def test_a_gpu_is_read_at_most_once_a_second_and_what_it_does_not_tell_is_absent() -> None:
    now, card, registry = [100.0], Card(), CollectorRegistry()
    gpu = Gpu(card, lambda: now[0])
    registry.register(GpuCollector(gpu))
    assert card.reads == 0
    assert gpu.latest(10.0) is not None

    for _ in range(5):
        assert registry.get_sample_value("rapido_gpu_power_watts") == 68.5
    assert card.reads == 1
    assert registry.get_sample_value("rapido_gpu_encoder_sessions") is None

    now[0] += 1.1
    gpu.latest(10.0)
    assert card.reads == 2


def test_a_driver_that_hangs_does_not_hang_the_scrape() -> None:
    now, card, registry = [100.0], Card(), CollectorRegistry()
    gpu = Gpu(card, lambda: now[0])
    registry.register(GpuCollector(gpu))
    gpu.latest(10.0)
    card.may_answer.clear()

    now[0] += 4.0
    assert registry.get_sample_value("rapido_gpu_temperature_celsius") == 55.0
    now[0] += 4.0
    assert registry.get_sample_value("rapido_gpu_temperature_celsius") is None
    now[0] += 6.0
    assert gpu.fault() == "The driver has not answered for 10 s."
    card.may_answer.set()


LOAD, MEMORY = SimpleNamespace(gpu=71), SimpleNamespace(used=2_000, total=24_000)


def nvml(monkeypatch: pytest.MonkeyPatch, **calls: object) -> None:
    """NVML with one GPU; an exception given for a call is raised by it."""
    told: dict[str, object] = {
        "Init": None,
        "DeviceGetHandleByIndex": "handle",
        "DeviceGetName": "NVIDIA L4",
        "EventSetCreate": "events",
        "DeviceRegisterEvents": None,
        "EventSetWait_v2": pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT),
        "DeviceGetUtilizationRates": LOAD,
        "DeviceGetMemoryInfo": MEMORY,
        "DeviceGetTemperature": 55,
        "DeviceGetPowerUsage": 68_500,
        "DeviceGetEncoderUtilization": [12, 166_000],
        "DeviceGetEncoderStats": (3, 25, 900),
        "DeviceGetEncoderCapacity": 100,
        **calls,
    }

    def answering(answer: object) -> object:
        def call(*_: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    for name, answer in told.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", answering(answer))


def test_nvml_is_read_in_plain_units(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch)
    expected = GpuSample(71.0, 2_000.0, 24_000.0, 55.0, 68.5, 12.0, 3.0)
    assert NvmlDevice().read() == expected


def test_what_a_gpu_cannot_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    unable = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    nvml(monkeypatch, DeviceGetEncoderStats=unable, DeviceGetPowerUsage=unable)
    sample = NvmlDevice().read()
    assert (sample.power_watts, sample.encoder_sessions) == (None, None)
    assert sample.temperature_celsius == 55.0


def test_a_gpu_that_is_gone_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    nvml(monkeypatch, DeviceGetUtilizationRates=gone)
    with pytest.raises(GpuLost, match="lost"):
        NvmlDevice().read()


@pytest.mark.parametrize(
    ("able", "library", "codecs"),
    [((0, 2), True, {"h264", "av1"}), ((0,), True, {"h264"}), ((), True, ()), ((0, 2), False, ())],
)
def test_a_gpu_encodes_what_nvml_says_where_the_drivers_library_is_there(
    monkeypatch: pytest.MonkeyPatch, able: tuple[int, ...], library: bool, codecs: set[str]
) -> None:
    def capacity(_: object, query: int) -> int:
        if query not in able:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 100

    def load(name: str) -> None:
        if not library:
            raise OSError(name)

    nvml(monkeypatch)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetEncoderCapacity", capacity)
    monkeypatch.setattr(gpu_module.ctypes, "CDLL", load)

    assert set(NvmlDevice().codecs) == set(codecs)


def test_critical_errors_are_read_until_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    none_left = pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
    device_events = [SimpleNamespace(eventData=79), none_left]
    nvml(monkeypatch)
    monkeypatch.setattr(pynvml, "nvmlEventSetWait_v2", lambda *_: _next(device_events))
    assert NvmlDevice().xids() == [79]


def _next(answers: list[object]) -> object:
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    nvml(monkeypatch, Init=absent)
    assert find() is None
    assert b"rapido_gpu" not in Metrics().text()
