"""What runs on a GPU only, as far as a CPU can try it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.engine.torch_avatar import DeviceAvatar
from gpu_node.engine.torch_blocks import Eager
from gpu_node.engine.torch_choice import Choice
from gpu_node.engine.torch_compose import DeviceCompositor
from gpu_node.engine.torch_engine import TorchEngine, batch_size
from gpu_node.engine.torch_lanes import Lane, Workshop
from gpu_node.engine.torch_memory import Budget
from gpu_node.synctalk import load_audio_encoder, load_generator
from tests.unit.tiny_avatars import avatar, lively, speech


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return avatar(tmp_path_factory.mktemp("one"), lively(), [(40, 40, 96, 96)] * 3)


def test_every_triton_kernel_gives_what_torch_gives(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.unit.triton_checks", str(tmp_path)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    errors = {name: float(error) for name, error in map(str.split, ran.stdout.splitlines())}

    assert len(errors) == 58
    levels = {name for name in errors if name.startswith(("paste", "colour"))}
    assert max(errors[name] for name in levels) <= 1.0
    assert max(error for name, error in errors.items() if name not in levels) < 1e-3


def test_out_of_memory_at_a_large_batch_makes_smaller_ones_and_no_crash(
    one: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine("cpu")
    engine.prepare(one, Compositor(one))
    jobs = [FrameJob(one, at % 3, speech(at)) for at in range(32)]
    wanted = engine.render(jobs)
    real = Eager.finish

    def full(self: Eager, hidden: torch.Tensor, *given: object) -> torch.Tensor:
        if len(hidden) > 8:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return real(self, hidden, *given)

    monkeypatch.setattr(Eager, "finish", full)
    pictures = engine.render(jobs)

    assert engine.max_batch == 8
    for made, before in zip(pictures, wanted, strict=True):
        assert np.abs(made.astype(int) - before).max() <= 1


def test_out_of_memory_for_one_frame_is_that_frames_error(
    one: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine("cpu")
    engine.prepare(one, Compositor(one))

    def full(*_: object) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Eager, "finish", full)

    with pytest.raises(torch.cuda.OutOfMemoryError):
        engine.render([FrameJob(one, 0, speech(1))])


class Wrong(Eager):
    """Quick, and wrong."""

    def expand(self, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return super().expand(image, weight, bias) + 1.0


class Broken(Eager):
    """Does not compile."""

    def expand(self, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such instruction")


class Quick(Eager):
    """Right."""


def test_a_kernel_that_is_wrong_or_broken_is_not_chosen_and_a_quicker_right_one_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    took_s = iter([0.5, 0.1])  # torch's own, then the only rival that is right
    rivals = [("wrong", Wrong()), ("broken", Broken()), ("quick", Quick())]
    choice = Choice(rivals, lambda _: next(took_s))
    image, weight, bias = torch.randn(1, 4, 4, 3), torch.randn(3, 6), torch.randn(6)

    made = choice.expand(image, weight, bias)

    torch.testing.assert_close(made, Eager().expand(image, weight, bias))
    assert set(choice.names.values()) == {"quick"}
    assert [line.partition(" ")[0] for line in caplog.messages] == ["wrong", "broken"]


def test_a_capture_that_fails_falls_back_to_running_step_by_step_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def record(*_: object) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    cpu, ran = torch.device("cpu"), []
    workshop, lane = Workshop(cpu, record), Lane(cpu)

    first, second = (workshop.fixed(lambda at=at: ran.append(at), lane) for at in (1, 2))
    ran.clear()
    first()
    second()

    assert ran == [1, 2]
    assert [line for line in caplog.messages if "no CUDA graph" in line] == caplog.messages[:1]
    assert len(caplog.messages) == 1


def test_a_lost_device_is_no_failed_capture(one: Avatar) -> None:
    def record(*_: object) -> Callable[[], None]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    workshop, lane = Workshop(torch.device("cpu"), record), Lane(torch.device("cpu"))

    with pytest.raises(RuntimeError, match="illegal memory access"):
        workshop.fixed(lambda: None, lane)


def test_what_was_captured_is_what_runs_and_no_other_size(one: Avatar) -> None:
    replayed: list[int] = []

    def record(_: Workshop, lane: Lane, work: Callable[[], None]) -> Callable[[], None]:
        return lambda: (replayed.append(1), work())[1]

    cpu = torch.device("cpu")
    networks = (
        load_generator(one.generator_path, one.crop, one.width),
        load_audio_encoder(one.audio_encoder_path, one.audio_width),
    )
    with torch.inference_mode():
        made = DeviceAvatar(
            one, Compositor(one), networks, Lane(cpu), Eager(), Budget(0), cpu, torch.float32
        )
        made.warm(2, Workshop(cpu, record))
        jobs = [FrameJob(one, frame, speech(frame)) for frame in (0, 2)]
        captured = made.render(jobs, 2)
        assert len(replayed) == 2  # two frames seen, then drawn
        plain = made.render(jobs, 4)

    assert len(replayed) == 3  # the frames are seen by two again, drawn by four for the first time
    assert (captured.int() - plain.int()).abs().max() <= 1


def test_everything_a_batch_touches_is_on_the_gpu_and_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [(20, 30, 64, 64), (22, 2, 150, 150), (0, 0, 110, 110)]
    one = avatar(tmp_path, lively(), boxes, border=4)
    networks = (
        load_generator(one.generator_path, 96, 2),
        load_audio_encoder(one.audio_encoder_path, 2),
    )
    monkeypatch.setattr(DeviceCompositor, "_checked", lambda self, own, crop: own)
    gpu, each_bytes = torch.device("cuda"), 28_224 * 2

    # shapes, types and devices are followed, nothing is computed: mixing two devices raises
    with FakeTensorMode(allow_non_fake_inputs=True):
        made = DeviceAvatar(
            one, Compositor(one), networks, Lane(torch.device("cpu")), Eager(),
            Budget(4 * each_bytes), gpu, torch.float16,
        )  # fmt: skip
        for step in (made._see, made._draw, made._hear):
            step(4)

    assert made._kept.frames == 2
    assert {level.device.type for level in made._kept.levels} == {"cuda"}
    assert {level.dtype for level in made._kept.levels} == {torch.float16}
    assert made._pictures.device.type == made._features.device.type == "cuda"


def test_an_avatar_takes_half_of_what_is_left_and_gives_it_back(one: Avatar) -> None:
    each_bytes = 28_224 * 4
    engine = TorchEngine("cpu", cache_bytes=4 * each_bytes)

    engine.prepare(one, Compositor(one))
    assert engine._budget.left == 2 * each_bytes
    engine.forget(one)

    assert engine._budget.left == 4 * each_bytes


def test_what_does_not_fit_is_kept_in_part_and_said_so(
    one: Avatar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = torch.empty

    def small(*shape: int, **given: object) -> torch.Tensor:
        if len(shape) == 4 and shape[0] > 33:  # rows of a level: those of a batch, and one kept
            raise torch.cuda.OutOfMemoryError("out of memory")
        return real(*shape, **given)  # type: ignore[call-overload]

    monkeypatch.setattr("gpu_node.engine.torch_memory.torch.empty", small)
    engine = TorchEngine("cpu", cache_bytes=4 * 28_224 * 4)
    engine.prepare(one, Compositor(one))

    assert engine._ready[one]._kept.frames == 1
    assert "1 encoded frames kept" in caplog.text


@pytest.mark.parametrize(
    ("waiting", "largest", "size"),
    [(1, 32, 1), (3, 32, 4), (5, 32, 8), (7, 32, 8), (9, 32, 8), (12, 32, 16), (20, 32, 16),
     (28, 32, 32), (45, 32, 32), (45, 8, 8), (3, 2, 2)],
)  # fmt: skip
def test_a_batch_is_filled_up_where_little_is_missing(
    waiting: int, largest: int, size: int
) -> None:
    assert batch_size(waiting, largest) == size


@pytest.mark.parametrize(
    ("frame", "features", "fault"),
    [(3, (16, 512), "frame: 3 is not one of 3"), (-1, (16, 512), "frame: -1"),
     (0, (15, 512), r"audio: features of shape \(15, 512\)")],
)  # fmt: skip
def test_a_job_that_a_gpu_would_not_survive_is_refused_before(
    one: Avatar, frame: int, features: tuple[int, int], fault: str
) -> None:
    engine = TorchEngine("cpu")
    engine.prepare(one, Compositor(one))

    with pytest.raises(ValueError, match=fault):
        engine.render([FrameJob(one, frame, np.zeros(features, np.float32))])
