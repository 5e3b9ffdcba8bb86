"""Trains the demo avatar: first its ear, then its mouth; then measures it on held-out speech.

The ear (the audio encoder) learns to hear the mouth's shape around each mel window. Then it is
frozen, every window is heard once, and the mouth (the generator) learns to paint.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn

from gpu_node.avatars.crops import cut, image_input, mask_rectangle
from gpu_node.features import audio_window
from gpu_node.synctalk import AudioEncoder, Generator
from ops.avatar.corpus import clips, drawn_crops, idle_frames, windows_of
from ops.avatar.drawing import CROP, IDLE_FRAMES, SIZE, idle_pose
from ops.avatar.opening import lip_report, measured_openings
from ops.avatar.speech import held_out

Array = npt.NDArray[np.float32]
Say = Callable[[str], None]
_AHEAD = 6
"""Frames whose mouth one window tells of: it holds 200 ms of sound and a little around."""
_QUALITY = 92
_MOUTH_WEIGHT = 4.0


@dataclass(frozen=True)
class Plan:
    """How much of everything; the defaults make the avatar that ships."""

    name: str = "demo"
    speech_minutes: float = 14.0
    ear_epochs: int = 6
    pictures: int = 3600
    minutes: float = 16.0
    width: int = 16
    audio_width: int = 16
    batch: int = 16
    workers: int = 2
    seed: int = 7


@dataclass(frozen=True)
class Heard:
    """One clip after the ear: features (n, 512) and the mouth of each frame (n, 4)."""

    features: Array
    mouths: Array


def train(plan: Plan, target: Path, say: Say) -> dict[str, Any]:
    """Writes the avatar's package to `target` and returns its manifest; `say` gets progress."""
    torch.manual_seed(plan.seed)
    random = np.random.default_rng(plan.seed)
    began = time.monotonic()
    say(f"speech: synthesising {plan.speech_minutes:g} minutes, many voices")
    spoken = list(clips(plan.speech_minutes, plan.seed))
    encoder = _train_ear(plan, [(c.windows, c.speech.mouths) for c in spoken], say)
    heard = [Heard(_hear(encoder, c.windows), c.speech.mouths) for c in spoken]
    say(f"pictures: drawing {IDLE_FRAMES} idle frames and {plan.pictures} mouths")
    frames = np.stack(list(idle_frames(plan.workers)))
    boxes = [idle_pose(frame).box for frame in range(IDLE_FRAMES)]
    generator = _train_mouth(plan, heard, frames, boxes, random, say)
    say("held-out speech: rendering and measuring")
    report = held_out_report(encoder, generator, frames, boxes)
    say(f"held out: {json.dumps(report)}")
    trained = asdict(plan) | {"with": "rapido avatar train", "took_s": time.monotonic() - began}
    return _write(plan, target, encoder, generator, frames, boxes, trained, report)


def _train_ear(plan: Plan, spoken: list[tuple[Array, Array]], say: Say) -> AudioEncoder:
    encoder = AudioEncoder(plan.audio_width).to(memory_format=torch.channels_last)
    head = nn.Linear(512, 4 * _AHEAD)
    windows = np.concatenate([w[1:-1] for w, _ in spoken])
    targets = np.concatenate([_ahead(m, len(w) - 2) for w, m in spoken])
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-3)
    batch = 64
    steps = plan.ear_epochs * (len(windows) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1)
    x, y = torch.from_numpy(windows)[:, None], torch.from_numpy(targets)
    began = time.monotonic()
    step = 0
    for epoch in range(plan.ear_epochs):
        losses = []
        for picks in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            with torch.autocast("cpu", torch.bfloat16):
                features = encoder(x[picks].contiguous(memory_format=torch.channels_last))
            loss = (head(features.float()) - y[picks]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            step += 1
        left_s = (time.monotonic() - began) / step * (steps - step)
        say(
            f"ear: epoch {epoch + 1} of {plan.ear_epochs}, loss {np.mean(losses):.4f}, {left_s:.0f} s left"
        )
    return encoder.eval()


def _ahead(mouths: Array, count: int) -> Array:
    """For each window the mouths of the frames it holds: (count, 4 * _AHEAD)."""
    index = np.arange(count)[:, None] + np.arange(_AHEAD)[None]
    return mouths[np.minimum(index, len(mouths) - 1)].reshape(count, -1)


@torch.no_grad()
def _hear(encoder: AudioEncoder, windows: Array) -> Array:
    parts = [encoder(piece[:, None]) for piece in torch.from_numpy(windows).split(128)]
    return torch.cat(parts).numpy()


def _train_mouth(
    plan: Plan,
    heard: list[Heard],
    frames: npt.NDArray[np.uint8],
    boxes: list[tuple[int, int, int, int]],
    random: np.random.Generator,
    say: Say,
) -> Generator:
    moments = [(c, f) for c, one in enumerate(heard) for f in range(len(one.mouths))]
    picks = [moments[i] for i in random.choice(len(moments), plan.pictures, replace=False)]
    poses = [int(i) for i in random.integers(0, IDLE_FRAMES, plan.pictures)]
    mouths = np.stack([heard[c].mouths[f] for c, f in picks])
    targets = np.empty((plan.pictures, CROP, CROP, 3), np.uint8)
    for done, picture in enumerate(drawn_crops(poses, mouths, plan.workers)):
        targets[done] = picture
        if done % 600 == 599:
            say(f"pictures: {done + 1} of {plan.pictures}")
    idle = torch.from_numpy(
        np.stack([image_input(cut(frames[i], boxes[i], CROP)) for i in range(IDLE_FRAMES)])
    )
    audio = torch.from_numpy(np.stack([audio_window(list(heard[c].features), f) for c, f in picks]))
    generator = Generator(CROP, plan.width).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=2e-3, weight_decay=1e-4)
    weight = _weights()
    began = told = time.monotonic()
    losses: list[float] = []
    while (spent := (time.monotonic() - began) / (plan.minutes * 60)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = (
                2e-3 * min(1.0, spent * 30 + 0.02) * (0.5 + 0.5 * np.cos(np.pi * spent)) + 1e-6
            )
        batch = torch.from_numpy(random.integers(0, plan.pictures, plan.batch))
        image = idle[[poses[i] for i in batch.tolist()]]
        with torch.autocast("cpu", torch.bfloat16):
            made = generator(
                image.contiguous(memory_format=torch.channels_last),
                audio[batch].reshape(-1, 32, 16, 16),
            )
        wanted = torch.from_numpy(targets[batch.numpy()]).permute(0, 3, 1, 2).float() / 255
        loss = ((made.float() - wanted).abs() * weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if time.monotonic() - told > 30:
            told = time.monotonic()
            left_s = plan.minutes * 60 - (told - began)
            say(
                f"mouth: step {len(losses)}, loss {np.mean(losses[-100:]):.4f}, {left_s:.0f} s left"
            )
    return _settled(generator, idle, audio, poses, plan)


@torch.no_grad()
def _settled(
    generator: Generator, idle: torch.Tensor, audio: torch.Tensor, poses: list[int], plan: Plan
) -> Generator:
    """Batch statistics taken once more with the final weights, in full precision."""
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    generator.train()
    for start in range(0, min(640, plan.pictures - 32), 32):
        generator(
            idle[poses[start : start + 32]], audio[start : start + 32].reshape(-1, 32, 16, 16)
        )
    return generator.eval()


def _weights() -> torch.Tensor:
    """The mouth counts more than the cheeks; what is never pasted counts little."""
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    near = torch.exp(-(((x - 80) / 42.0) ** 2) - ((y - 72) / 34.0) ** 2)
    x0, y0, x1, y1 = mask_rectangle(CROP)
    shown = torch.zeros(CROP, CROP)
    shown[y0:y1, x0:x1] = 1.0
    return 0.2 + shown * (0.8 + _MOUTH_WEIGHT * near)


@torch.no_grad()
def held_out_report(
    encoder: AudioEncoder,
    generator: Generator,
    frames: npt.NDArray[np.uint8],
    boxes: list[tuple[int, int, int, int]],
) -> dict[str, float]:
    """Correlation of painted with asked-for openings on speech and voices never trained on."""
    speech = held_out()
    features = list(_hear(encoder, windows_of(speech.pcm)))
    pictures = []
    for frame in range(len(speech.mouths)):
        at = frame % IDLE_FRAMES if frame // IDLE_FRAMES % 2 == 0 else -1 - frame % IDLE_FRAMES
        image = torch.from_numpy(image_input(cut(frames[at], boxes[at], CROP)))[None]
        audio = torch.from_numpy(audio_window(features, frame)).reshape(1, 32, 16, 16)
        made = generator(image, audio)[0].permute(1, 2, 0).numpy() * 255
        x, y, w, h = boxes[at]
        picture = frames[at].copy()
        picture[y : y + h, x : x + w] = made.round().astype(np.uint8)
        pictures.append(picture)
    measured = measured_openings(pictures)
    report = lip_report(measured, speech.openings.astype(float), speech.speaking)
    quiet = ~speech.speaking & (speech.openings[: len(measured)] < 0.02)
    closed = measured[quiet].mean() / max(1e-9, float(np.quantile(measured, 0.95)))
    return {
        "speech_s": len(speech.mouths) / 25,
        "correlation": round(report["correlation"], 3),
        "shifted": round(report["shifted"], 3),
        "lag_frames": report["lag_frames"],
        "open_in_silence": round(float(closed), 3),
    }


def _write(
    plan: Plan,
    target: Path,
    encoder: AudioEncoder,
    generator: Generator,
    frames: npt.NDArray[np.uint8],
    boxes: list[tuple[int, int, int, int]],
    trained: dict[str, Any],
    report: dict[str, float],
) -> dict[str, Any]:
    target.mkdir(parents=True, exist_ok=True)
    for name, model in (("generator", generator), ("audio_encoder", encoder)):
        tensors = {
            key: value.contiguous().half() if value.is_floating_point() else value
            for key, value in model.state_dict().items()
        }
        save_file(tensors, target / f"{name}.safetensors")
    pictures = io.BytesIO()
    with zipfile.ZipFile(pictures, "w", zipfile.ZIP_STORED) as archive:
        for index, frame in enumerate(frames):
            _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            entry = zipfile.ZipInfo(f"{index:04d}.jpg", (2026, 1, 1, 0, 0, 0))
            archive.writestr(entry, jpeg.tobytes())
    (target / "frames.zip").write_bytes(pictures.getvalue())
    files = {
        role: {"path": path, "sha256": hashlib.sha256((target / path).read_bytes()).hexdigest()}
        for role, path in (
            ("generator", "generator.safetensors"),
            ("audio_encoder", "audio_encoder.safetensors"),
            ("frames", "frames.zip"),
        )
    }
    manifest: dict[str, Any] = {
        "name": plan.name,
        "licence": "Apache-2.0",
        "fps": 25,
        "size": [SIZE, SIZE],
        "frames": IDLE_FRAMES,
        "crop": CROP,
        "width": plan.width,
        "audio_width": plan.audio_width,
        "trained": trained,
        "held_out": report,
        "files": files,
        "boxes": [list(box) for box in boxes],
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest
