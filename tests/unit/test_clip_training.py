"""A mouth learns from a clip, can be interrupted, goes on, and becomes an avatar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_node.avatars import AvatarError, load_avatar
from gpu_node.engine import make_engine
from ops.avatar.clip import ClipExamples, split
from ops.avatar.clip_training import ClipPlan, train_clip
from ops.avatar.dataset import DatasetError, open_dataset, read_landmarks, scaled
from ops.avatar.drawn import draw_dataset
from ops.avatar.inspection import inspect
from ops.avatar.judging import held_out_report
from ops.avatar.learning import Learner, Pace, train_mouth
from ops.avatar.work_folder import WorkFolder

FRAMES = 56
OFTEN = Pace(tell_every_s=0.0, keep_every_s=0.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than they gain where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the drawn tutor."""
    folder = tmp_path_factory.mktemp("clip") / "tutor"
    draw_dataset(folder, FRAMES / 25, lambda _line: None, workers=1)
    return folder


@pytest.fixture
def plan(drawn: Path) -> ClipPlan:
    return ClipPlan(
        drawn, "tutor", minutes=0.01, crop=96, width=4, frames=20, height_px=256, batch=4
    )


def _quiet(_line: str) -> None:
    pass


class Interrupted:
    """Presses Ctrl-C at the second line about the mouth."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if sum(one.startswith("mouth: step") for one in self.lines) == 2:
            raise KeyboardInterrupt


def test_the_drawn_clip_is_a_dataset_in_the_published_layout(drawn: Path) -> None:
    dataset = open_dataset(drawn)
    sizes = scaled(dataset, None)

    boxes = [sizes.box(dataset, at) for at in range(len(dataset.numbers))]

    assert len(boxes) == FRAMES
    assert all(170 <= w <= 200 and y < 250 < y + h for _, y, w, h in boxes)
    points = read_landmarks(dataset.landmarks(0))
    assert points[16, 1] > points[1, 1]
    assert points[1, 0] < points[16, 0] < points[31, 0]


def test_a_training_is_interrupted_goes_on_and_becomes_an_avatar(
    plan: ClipPlan, tmp_path: Path
) -> None:
    target, say = tmp_path / "tutor", Interrupted()
    with pytest.raises(KeyboardInterrupt):
        train_clip(replace(plan, minutes=5), target, say, pace=OFTEN)
    assert not target.exists()
    assert "go on with --resume" in say.lines[-1]
    before = Learner(plan.crop, plan.width)
    WorkFolder(target).resume(before, plan.fixed())
    lines: list[str] = []

    rest = replace(plan, minutes=before.spent_s / 60 + 0.01)
    manifest = train_clip(rest, target, lines.append, resume=True)

    assert before.steps >= 2
    assert any(f"resumed after {before.steps} steps" in line for line in lines)
    assert manifest["trained"]["steps"] > before.steps
    assert set(manifest["held_out"]) == {
        "seconds", "l1", "l1_shuffled", "correlation", "correlation_shuffled",
    }  # fmt: skip
    assert inspect(str(target), make_engine("cpu"))["frames"] == 20
    avatar = load_avatar(target)
    assert (avatar.crop, avatar.width, avatar.border, avatar.size) == (96, 4, 1, (256, 256))
    assert [path.name for path in tmp_path.iterdir()] == ["tutor"]


def test_an_unfinished_training_is_not_begun_anew_by_mistake(
    plan: ClipPlan, tmp_path: Path
) -> None:
    work = WorkFolder(tmp_path / "tutor")
    work.begin(plan.fixed())
    work.keep(Learner(plan.crop, plan.width))

    with pytest.raises(AvatarError, match=r"tutor\.work: holds an unfinished training; add --res"):
        train_clip(plan, tmp_path / "tutor", _quiet)


def test_there_must_be_something_to_resume(plan: ClipPlan, tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="no training to resume there; leave --resume out"):
        train_clip(plan, tmp_path / "tutor", _quiet, resume=True)


def test_a_training_is_resumed_only_as_it_was_begun(plan: ClipPlan, tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "tutor")
    work.begin(plan.fixed())
    work.keep(Learner(plan.crop, plan.width))

    with pytest.raises(AvatarError, match="begun with width 4, not 6; resume it with the same"):
        train_clip(replace(plan, width=6), tmp_path / "tutor", _quiet, resume=True)


def test_a_damaged_state_is_named(plan: ClipPlan, tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "tutor")
    work.begin(plan.fixed())
    (work.path / "learned.pt").write_bytes(b"half a file")

    with pytest.raises(AvatarError, match=r"learned\.pt: damaged"):
        train_clip(plan, tmp_path / "tutor", _quiet, resume=True)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"crop": 100}, "--crop 100: not a multiple of 32"),
        ({"width": 5}, "--width 5: not even"),
        ({"frames": 0}, "--frames 0: not 1 to 3000"),
        ({"minutes": 0.0}, "--minutes 0: not more than 0"),
    ],
)
def test_a_size_that_cannot_be_is_refused(
    plan: ClipPlan, tmp_path: Path, change: dict[str, int], fault: str
) -> None:
    with pytest.raises(AvatarError, match=fault):
        train_clip(replace(plan, **change), tmp_path / "tutor", _quiet)


def test_lips_cannot_learn_without_sound(plan: ClipPlan, tmp_path: Path, drawn: Path) -> None:
    mute = tmp_path / "mute"
    mute.mkdir()
    for name in ("full_body_img", "landmarks"):
        (mute / name).symlink_to(drawn / name)

    with pytest.raises(DatasetError, match=r"aud\.wav: missing: lips learn from it"):
        train_clip(replace(plan, dataset=mute), tmp_path / "tutor", _quiet)


def _blinking(count: int) -> ClipExamples:
    """A grey face whose mouth is as bright as its sound is loud, at random."""
    random = np.random.default_rng(3)
    level = random.random(count).astype(np.float32)
    crops = np.full((count, 96, 96, 3), 90, np.uint8)
    crops[:, 28:60, 30:66] = (60 + 150 * level).astype(np.uint8)[:, None, None, None]
    audio = np.broadcast_to(4 * level[:, None, None] - 2, (count, 16, 512)).copy()
    return ClipExamples(crops, audio)


def test_a_mouth_that_learned_from_sound_is_told_from_one_that_did_not() -> None:
    torch.manual_seed(4)
    seen, unseen = split(_blinking(240))
    ignorant = held_out_report(Learner(96, 4).generator.eval(), seen, unseen)
    learner = Learner(96, 4)

    for _ in range(80):
        learner.step(seen, 4, torch.ones(96, 96), 2e-3)
    mouth = train_mouth(learner, seen, minutes=1e-6, batch=4, say=_quiet)

    report = held_out_report(mouth, seen, unseen)
    assert report["correlation"] > 0.8
    assert report["l1"] < report["l1_shuffled"]
    assert report["correlation_shuffled"] < 0.6
    assert ignorant["correlation"] < 0.6


def test_what_is_held_out_shares_no_sound_with_what_is_learned_from() -> None:
    clip = ClipExamples(
        np.zeros((100, 96, 96, 3), np.uint8), np.arange(100, dtype=np.float32)[:, None, None]
    )

    seen, unseen = split(clip)

    assert len(unseen) == 10
    assert unseen.audio[0, 0, 0] - seen.audio[-1, 0, 0] > 8
