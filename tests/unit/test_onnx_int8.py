"""Eight bits on the CPU: taken where pictures bear it and come sooner, and never else."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from gpu_node.avatars.package import Avatar, load_avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob, graphs, onnx_int8
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.features import MelStream, audio_window
from ops.avatar.speech import held_out
from ops.demo.media import resample

EXACT_S, EIGHT_BITS_S = 2.0, 1.0


@pytest.fixture(scope="module")
def demo() -> Avatar:
    return load_avatar("demo")


@pytest.fixture(scope="module")
def exact(demo: Avatar) -> Iterator[OnnxEngine]:
    engine = OnnxEngine(exact=True)
    engine.prepare(demo, Compositor(demo))
    yield engine
    engine.close()


def prepared(demo: Avatar) -> OnnxEngine:
    engine = OnnxEngine()
    engine.prepare(demo, Compositor(demo))
    return engine


def spoken(engine: OnnxEngine, avatar: Avatar) -> list[np.ndarray]:
    """A frame of every second of speech that was not trained on."""
    speech = held_out().first(8.0)
    pcm = resample(speech.pcm.astype(np.float64) / 32768, speech.sample_rate, 16_000)
    mel = MelStream()
    mel.push(pcm.astype(np.float32))
    mel.finish()
    heard = engine.encode(avatar, mel.windows())
    jobs = [
        FrameJob(avatar, at % len(avatar.frames), audio_window(heard, at))
        for at in range(12, 190, 25)
    ]
    return engine.render(jobs)


def psnr_db(avatar: Avatar, frame: int, made: np.ndarray, wanted: np.ndarray) -> float:
    """Of the brightness in the mouth's box."""
    x, y, w, h = avatar.box(frame)
    error = (made.astype(float) - wanted)[y : y + h, x : x + w]
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean(error**2)))))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What each way is said to take: the exact one is asked first."""
    times = {"exact": EXACT_S, "eight bits": EIGHT_BITS_S}
    turns = [0]

    def run(painter: object, given: object) -> tuple[np.ndarray, float]:
        turns[0] += 1
        made = painter.run(["picture"], given)[0]  # type: ignore[attr-defined]
        return made, times["exact" if turns[0] % 2 else "eight bits"]

    monkeypatch.setattr(onnx_int8, "_timed", run)
    return times


def test_speech_is_painted_within_40_db_in_eight_bits(
    demo: Avatar, exact: OnnxEngine, timed: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "gpu_node.engine.onnx_int8"):
        engine = prepared(demo)

    made, wanted = spoken(engine, demo), spoken(exact, demo)

    engine.close()
    assert caplog.messages[-1].endswith(": taken")
    frames = [at % len(demo.frames) for at in range(12, 190, 25)]
    found = [
        psnr_db(demo, frame, one, other)
        for frame, one, other in zip(frames, made, wanted, strict=True)
    ]
    assert min(found) >= 40.0
    assert any(not np.array_equal(one, other) for one, other in zip(made, wanted, strict=True))


def test_what_is_kept_of_a_frame_is_no_larger_in_eight_bits(
    demo: Avatar, exact: OnnxEngine, timed: dict[str, float]
) -> None:
    engine = prepared(demo)

    sizes = [sum(one.nbytes for one in it._ready[demo].kept[0].values()) for it in (engine, exact)]

    engine.close()
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("why", ["worse", "slower"])
def test_what_is_worse_or_slower_in_eight_bits_stays_exact(
    why: str,
    demo: Avatar,
    exact: OnnxEngine,
    timed: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if why == "worse":
        monkeypatch.setattr(onnx_int8, "_LEAST_PSNR_DB", 90.0)
    else:
        timed["eight bits"] = 2 * EXACT_S
    engine = prepared(demo)

    made, wanted = spoken(engine, demo), spoken(exact, demo)

    engine.close()
    assert all(np.array_equal(one, other) for one, other in zip(made, wanted, strict=True))


def test_an_avatar_that_cannot_be_had_in_eight_bits_is_shown_exactly(
    demo: Avatar,
    exact: OnnxEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError("No space left on device")

    monkeypatch.setattr(onnx_int8, "_quantised", broken)
    engine = prepared(demo)

    made, wanted = spoken(engine, demo), spoken(exact, demo)

    engine.close()
    assert "eight bits cannot be had" in caplog.text
    assert all(np.array_equal(one, other) for one, other in zip(made, wanted, strict=True))


def test_what_follows_the_last_depthwise_convolution_stays_exact(demo: Avatar) -> None:
    model = graphs.decoder(graphs.Weights(demo.generator_path), demo.crop)

    tail = onnx_int8._tail(onnx.load_from_string(model))

    kinds = {node.name: node.op_type for node in onnx.load_from_string(model).graph.node}
    assert [kinds[name] for name in tail] == [
        "Conv", "Relu", "Conv", "Add", "Conv", "Sigmoid", "Mul", "Add", "Cast", "Transpose",
        "Identity",
    ]  # fmt: skip
