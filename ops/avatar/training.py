"""Trains the demo avatar: first its ear, then its mouth; then measures it on held-out speech.

The ear (the audio encoder) learns to hear the mouth's shape around each mel window. Then it is
frozen, every window is heard once, and the mouth (the generator) learns to paint.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_node.avatars import load_avatar
from gpu_node.avatars.crops import cut, image_input
from gpu_node.engine import make_engine
from gpu_node.features import audio_window
from gpu_node.synctalk import AudioEncoder
from ops.avatar.check import held_out_report
from ops.avatar.corpus import Clip, clips, drawn_crops, idle_frames
from ops.avatar.drawing import CROP, IDLE_FRAMES, SIZE, idle_pose
from ops.avatar.learning import Learner, Lesson, Say, hear, train_ear, train_mouth
from ops.avatar.packing import write_frames, write_manifest, write_weights

DEMO = Path("gpu_node/avatars/demo")


@dataclass(frozen=True)
class Plan:
    """How much of everything; the defaults make the avatar that ships."""

    name: str = "demo"
    speech_minutes: float = 14.0
    ear_epochs: int = 9
    pictures: int = 3600
    minutes: float = 16.0
    width: int = 16
    audio_width: int = 16
    batch: int = 8
    workers: int = 2
    seed: int = 7


def train(plan: Plan, target: Path, say: Say) -> dict[str, Any]:
    """Writes the avatar's package to `target` and returns its manifest; `say` gets progress."""
    torch.manual_seed(plan.seed)
    began = time.monotonic()
    say(f"speech: synthesising {plan.speech_minutes:g} minutes, many voices")
    spoken = list(clips(plan.speech_minutes, plan.seed))
    ear = train_ear(
        plan.audio_width, plan.ear_epochs, [(c.windows, c.speech.mouths) for c in spoken], say
    )
    say(f"pictures: drawing {IDLE_FRAMES} idle frames and {plan.pictures} mouths")
    frames = np.stack(list(idle_frames(plan.workers)))
    lesson = _lesson(plan, ear, spoken, frames, say)
    learner = Learner(CROP, plan.width)
    mouth = train_mouth(learner, lesson, plan.minutes, plan.batch, say)
    target.mkdir(parents=True, exist_ok=True)
    write_weights(target, "audio_encoder", ear)
    write_weights(target, "generator", mouth)
    write_frames(target, frames)
    trained = asdict(plan) | {
        "with": "rapido avatar train",
        "steps": learner.steps,
        "took_s": round(time.monotonic() - began),
    }
    return measure(target, _fields(plan, trained), say)


def measure(target: Path, fields: dict[str, Any], say: Say) -> dict[str, Any]:
    """Writes the manifest of the files in ``target``, with what they do on held-out speech."""
    boxes = _boxes()
    write_manifest(target, fields, boxes)
    say("held-out speech: rendering and measuring")
    report = held_out_report(load_avatar(target), make_engine("cpu", threads=2))
    say(f"held out: {json.dumps(report)}")
    return write_manifest(target, {**fields, "held_out": report}, boxes)


def _fields(plan: Plan, trained: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": plan.name,
        "licence": "Apache-2.0",
        "fps": 25,
        "size": [SIZE, SIZE],
        "frames": IDLE_FRAMES,
        "crop": CROP,
        "width": plan.width,
        "audio_width": plan.audio_width,
        "trained": trained,
        "held_out": {},
    }


def _boxes() -> list[tuple[int, int, int, int]]:
    return [idle_pose(frame).box for frame in range(IDLE_FRAMES)]


def _lesson(
    plan: Plan, ear: AudioEncoder, spoken: list[Clip], frames: npt.NDArray[np.uint8], say: Say
) -> Lesson:
    """Moments of the speech chosen at random, each drawn on an idle frame chosen at random."""
    random = np.random.default_rng(plan.seed)
    moments = [(c, f) for c, clip in enumerate(spoken) for f in range(len(clip.speech.mouths))]
    picks = [moments[i] for i in random.choice(len(moments), plan.pictures, replace=False)]
    poses = random.integers(0, IDLE_FRAMES, plan.pictures)
    mouths = np.stack([spoken[clip].speech.mouths[frame] for clip, frame in picks])
    pictures = np.empty((plan.pictures, CROP, CROP, 3), np.uint8)
    for done, picture in enumerate(drawn_crops(poses.tolist(), mouths, plan.workers), 1):
        pictures[done - 1] = picture
        if done % 600 == 0:
            say(f"pictures: {done} of {plan.pictures}")
    heard = [list(hear(ear, clip.windows)) for clip in spoken]
    inputs = [
        image_input(cut(frame, box, CROP)) for frame, box in zip(frames, _boxes(), strict=True)
    ]
    return Lesson(
        torch.from_numpy(np.stack(inputs)),
        torch.from_numpy(poses),
        torch.from_numpy(np.stack([audio_window(heard[c], frame) for c, frame in picks])),
        pictures,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m ops.avatar.training``: trains the demo avatar where the worker finds it."""
    parser = argparse.ArgumentParser(description="Train the demo avatar anew.")
    parser.add_argument("--out", type=Path, default=DEMO, help="the package's folder")
    parser.add_argument(
        "--minutes", type=float, default=Plan.minutes, help="how long the mouth learns"
    )
    given = parser.parse_args(arguments)
    began = time.monotonic()
    train(
        Plan(minutes=given.minutes),
        given.out,
        lambda line: print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True),
    )


if __name__ == "__main__":
    main()
