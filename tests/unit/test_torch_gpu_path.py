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

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.engine.torch_blocks import Eager
from gpu_node.engine.torch_choice import Choice
from gpu_node.engine.torch_engine import TorchEngine
from gpu_node.engine.torch_lanes import Lane
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

    lane, ran = Lane(torch.device("cpu"), record), []

    first, second = (lane.fixed(lambda at=at: ran.append(at)) for at in (1, 2))
    ran.clear()
    first()
    second()

    assert ran == [1, 2]
    assert [line for line in caplog.messages if "no CUDA graph" in line] == caplog.messages[:1]
    assert len(caplog.messages) == 1
