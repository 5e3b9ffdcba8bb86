"""Turns a SyncTalk 2D checkpoint and its dataset into an avatar's package."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_node.avatars.package import AvatarError
from gpu_node.features import FPS, audio_window
from ops.avatar.corpus import windows_of
from ops.avatar.dataset import open_dataset, read_pictures, scaled
from ops.avatar.idle import FRAMES, dataset_sound, idle_stretch
from ops.avatar.learning import hear
from ops.avatar.packing import (
    WEBP,
    check_target,
    new_package,
    write_frames,
    write_manifest,
    write_weights,
)
from ops.avatar.published import (
    BORDER,
    Networks,
    find_encoder,
    hearing_distance,
    load_networks,
    newest_checkpoint,
)
from ops.sound import Sound

Say = Callable[[str], None]
HEIGHT_PX = 720
_HEARD_FRAMES = 200
_FAR = 1.0


@dataclass(frozen=True)
class Wanted:
    """What to import. frames, start: the idle loop; height_px: pictures are made no higher."""

    checkpoint: Path
    dataset: Path
    name: str
    audio_encoder: Path | None = None
    frames: int = FRAMES
    start: int | None = None
    height_px: int = HEIGHT_PX
    licence: str = "unknown"


def name_of(text: str) -> str:
    """A name that a worker accepts, from any text."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63]
    return name or "avatar"


def import_avatar(wanted: Wanted, target: Path, say: Say) -> dict[str, Any]:
    """Writes the package and returns its manifest. Raises AvatarError and DatasetError."""
    check_target(target)
    check_frames(wanted.frames)
    checkpoint = newest_checkpoint(wanted.checkpoint)
    places = (checkpoint.parent, wanted.dataset, wanted.dataset.parent, Path.cwd())
    networks = load_networks(checkpoint, find_encoder(wanted.audio_encoder, places))
    say(f"weights: {checkpoint} and {networks.encoder}")
    dataset = open_dataset(wanted.dataset)
    sound = dataset_sound(dataset)
    stretch = idle_stretch(dataset, sound, wanted.frames, wanted.start)
    sizes = scaled(dataset, wanted.height_px)
    boxes = [sizes.box(dataset, index) for index in stretch]
    say(
        f"idle loop: pictures {dataset.numbers[stretch[0]]} to {dataset.numbers[stretch[-1]]} "
        f"({'the quietest' if sound and wanted.start is None else 'as given'}), "
        f"{sizes.used[0]} x {sizes.used[1]}"
    )
    frames = np.stack(list(read_pictures(dataset, stretch, sizes)))
    distance = _distance(networks, sound, say)
    with new_package(target) as folder:
        write_weights(folder, "generator", networks.generator)
        write_weights(folder, "audio_encoder", networks.ear)
        write_frames(folder, frames, WEBP)
        return write_manifest(folder, _fields(wanted, networks, sizes.used, distance), boxes)


def _fields(
    wanted: Wanted, networks: Networks, size: tuple[int, int], distance: float | None
) -> dict[str, Any]:
    trained = {
        "with": "SyncTalk 2D",
        "checkpoint": networks.checkpoint.name,
        "audio_encoder": networks.encoder.name,
        "hearing_distance": distance,
    }
    return {
        "name": wanted.name,
        "licence": wanted.licence,
        "fps": FPS,
        "size": list(size),
        "frames": wanted.frames,
        "crop": networks.generator.crop,
        "width": networks.generator.width,
        "border": BORDER,
        "audio_width": networks.ear.width,
        "trained": trained,
        "held_out": {},
    }


def _distance(networks: Networks, sound: Sound | None, say: Say) -> float | None:
    """Tells where the two networks do not seem to belong together; needs the clip's sound."""
    if sound is None:
        say("hearing: not compared with training: there is no aud.wav")
        return None
    features = list(hear(networks.ear, windows_of(sound.pcm)))
    picks = np.linspace(0, len(features) - 1, min(_HEARD_FRAMES, len(features))).astype(int)
    heard = np.stack([audio_window(features, int(at)) for at in picks]).reshape(-1, 32, 16, 16)
    distance = round(hearing_distance(networks.generator, torch.from_numpy(heard)), 2)
    if distance > _FAR:
        say(
            f"WARNING {networks.checkpoint}: what it hears through {networks.encoder.name} is "
            f"{distance} standard deviations from its training; if it was trained for hubert, or "
            "with another encoder, its lips will not follow: train again with mode ave"
        )
    return distance


def check_frames(frames: int) -> None:
    """Raises AvatarError for an idle loop that a package cannot hold."""
    if not 1 <= frames <= 3000:
        raise AvatarError(f"--frames {frames}: not 1 to 3000; 125 is a loop of 5 s each way")
