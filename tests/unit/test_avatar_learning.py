"""The ear and the mouth learn; what they learned is packed as a worker reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gpu_node.engine import graphs
from ops.avatar.learning import Learner, Lesson, hear, train_ear, train_mouth
from ops.avatar.packing import write_weights


def test_the_ear_learns_to_hear_how_open_a_mouth_is() -> None:
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    spoken = []
    for _ in range(4):
        loud = random.random(80).astype(np.float32)
        windows = np.tile(8 * loud[:, None, None] - 4, (1, 80, 16))
        mouths = np.tile(loud[1:-1, None], (1, 4))
        spoken.append((windows.astype(np.float32), mouths))
    lines: list[str] = []

    ear = train_ear(2, 4, spoken, lines.append)

    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert losses[-1] < losses[0]
    assert "0 s left" in lines[-1]
    assert hear(ear, spoken[0][0]).shape == (80, 512)


def test_the_mouth_learns_for_the_time_it_is_given_and_counts_its_steps() -> None:
    torch.manual_seed(1)
    lesson = Lesson(
        idle=torch.rand(2, 6, 160, 160),
        poses=torch.tensor([0, 1] * 8),
        audio=torch.randn(16, 16, 512),
        pictures=np.full((16, 160, 160, 3), 200, np.uint8),
    )

    learner = Learner(160, 2)

    generator = train_mouth(learner, lesson, minutes=0.03, batch=4, say=lambda _line: None)

    assert learner.steps > 0
    assert not generator.training
    image, audio, wanted = lesson.batch(torch.tensor([3]))
    assert generator(image, audio).shape == wanted.shape


def test_packed_weights_are_what_was_learned_to_half_precision(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5))

    write_weights(tmp_path, "generator", model)

    read = graphs.Weights(tmp_path / "generator.safetensors")
    kept = model.state_dict()
    assert read.names == set(kept)
    np.testing.assert_allclose(read["0.weight"], kept["0.weight"].numpy(), atol=1e-3)
