"""Trains an avatar's mouth from a filmed clip; its ear is the demo avatar's, or a given one.

Training can be interrupted at any time: what it has learned is kept in a work folder beside the
package, and ``resume`` goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_node.avatars import load_avatar
from gpu_node.avatars.package import AvatarError
from gpu_node.features import FPS
from gpu_node.synctalk import AudioEncoder, Generator, WeightsError, load_audio_encoder
from gpu_node.synctalk.weights import read_state
from ops.avatar.clip import read_clip, split
from ops.avatar.dataset import Dataset, Scaled, open_dataset, read_pictures, scaled
from ops.avatar.idle import FRAMES, dataset_sound, idle_stretch
from ops.avatar.judging import held_out_report
from ops.avatar.learning import Learner, Pace, train_mouth
from ops.avatar.packing import (
    WEBP,
    check_target,
    new_package,
    write_frames,
    write_manifest,
    write_weights,
)
from ops.avatar.work_folder import WorkFolder

Say = Callable[[str], None]


@dataclass(frozen=True)
class ClipPlan:
    """What to train. height_px: pictures are made no higher; minutes: how long in all."""

    dataset: Path
    name: str
    minutes: float = 30.0
    crop: int = 160
    width: int = 16
    audio_encoder: Path | None = None
    frames: int = FRAMES
    start: int | None = None
    height_px: int = 512
    licence: str = "unknown"
    batch: int = 8
    seed: int = 7

    @property
    def border(self) -> int:
        """px around the crop, in the published proportion of 4 to 320."""
        return self.crop // 80

    def fixed(self) -> dict[str, Any]:
        """What a training that is resumed must have in common with its beginning."""
        kept = ("crop", "width", "height_px", "batch")
        return {key: value for key, value in asdict(self).items() if key in kept} | {
            "dataset": str(self.dataset.resolve()),
            "audio_encoder": str(self.audio_encoder and self.audio_encoder.resolve()),
        }


def train_clip(
    plan: ClipPlan, target: Path, say: Say, *, resume: bool = False, pace: Pace | None = None
) -> dict[str, Any]:
    """Writes the package to `target` and returns its manifest.

    Raises AvatarError and DatasetError. On KeyboardInterrupt what was learned is kept.
    """
    _check_size(plan)
    check_target(target)
    torch.manual_seed(plan.seed)
    work = WorkFolder(target)
    learner = Learner(plan.crop, plan.width)
    if resume:
        work.resume(learner, plan.fixed())
        say(f"resumed after {learner.steps} steps and {learner.spent_s / 60:.1f} minutes")
        torch.manual_seed(plan.seed + learner.steps)
    else:
        work.begin(plan.fixed())
    dataset = open_dataset(plan.dataset)
    sizes = scaled(dataset, plan.height_px)
    stretch = idle_stretch(dataset, dataset_sound(dataset), plan.frames, plan.start)
    ear = _ear(plan)
    clip = read_clip(dataset, sizes, plan.crop, plan.border, ear, say)
    seen, unseen = split(clip)
    say(f"clip: {len(seen) / FPS:.0f} s to learn from, {len(unseen) / FPS:.0f} s held out")
    try:
        mouth = train_mouth(learner, seen, plan.minutes, plan.batch, say, pace=pace, keep=work.keep)
    except KeyboardInterrupt:
        work.keep(learner)
        say(f"interrupted: kept in {work.path}; go on with --resume")
        raise
    report = held_out_report(mouth, seen, unseen)
    say(f"held out: {json.dumps(report)}")
    made = _pack(plan, target, (mouth, ear), (dataset, sizes, stretch), _facts(learner, report))
    work.remove()
    return made


def _check_size(plan: ClipPlan) -> None:
    if plan.crop % 32 or not 96 <= plan.crop <= 320:
        raise AvatarError(f"--crop {plan.crop}: not a multiple of 32 from 96 to 320")
    if plan.width % 2 or not 2 <= plan.width <= 64:
        raise AvatarError(f"--width {plan.width}: not even, 2 to 64")
    if not 1 <= plan.frames <= 3000:
        raise AvatarError(f"--frames {plan.frames}: not 1 to 3000; 125 is a loop of 5 s each way")
    if plan.minutes <= 0:
        raise AvatarError(f"--minutes {plan.minutes:g}: not more than 0")


def _ear(plan: ClipPlan) -> AudioEncoder:
    if plan.audio_encoder is None:
        demo = load_avatar("demo")
        return load_audio_encoder(demo.audio_encoder_path, demo.audio_width)
    try:
        state = read_state(plan.audio_encoder)
        first = next((v for k, v in state.items() if k.endswith("0.conv_block.0.weight")), None)
        return load_audio_encoder(plan.audio_encoder, 32 if first is None else len(first))
    except WeightsError as error:
        raise AvatarError(str(error)) from error


def _facts(learner: Learner, report: dict[str, float]) -> dict[str, Any]:
    return {
        "trained": {"steps": learner.steps, "took_s": round(learner.spent_s)},
        "held_out": report,
    }


def _pack(
    plan: ClipPlan,
    target: Path,
    networks: tuple[Generator, AudioEncoder],
    idle: tuple[Dataset, Scaled, range],
    facts: dict[str, Any],
) -> dict[str, Any]:
    mouth, ear = networks
    dataset, sizes, stretch = idle
    trained = {
        "with": "rapido avatar train --dataset",
        "ear": "the demo avatar's" if plan.audio_encoder is None else plan.audio_encoder.name,
        "batch": plan.batch,
        "seed": plan.seed,
    }
    fields = {
        "name": plan.name,
        "licence": plan.licence,
        "fps": FPS,
        "size": list(sizes.used),
        "frames": plan.frames,
        "crop": plan.crop,
        "width": plan.width,
        "border": plan.border,
        "audio_width": ear.width,
        "trained": trained | facts["trained"],
        "held_out": facts["held_out"],
    }
    boxes = [sizes.box(dataset, index) for index in stretch]
    with new_package(target) as folder:
        write_weights(folder, "generator", mouth)
        write_weights(folder, "audio_encoder", ear)
        write_frames(folder, np.stack(list(read_pictures(dataset, stretch, sizes))), WEBP)
        return write_manifest(folder, fields, boxes)
