"""Published SyncTalk 2D weights: which file to take, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gpu_node.avatars.package import AvatarError
from gpu_node.synctalk import (
    AudioEncoder,
    Generator,
    WeightsError,
    load_audio_encoder,
    load_generator,
)
from gpu_node.synctalk.weights import read_state

State = Mapping[str, torch.Tensor]
BORDER = 4
"""The published crop is 328 px, of which the generator sees the inner 320."""
_ENCODER_NAMES = ("audio_visual_encoder.pth", "AVE.pth", "ave.pth", "audio_encoder.pth")
_HEARING = "audio_model.conv1.conv.0.weight"
_MODES = {256: "wenet"}
_PUBLISHED = "only mode ave at crop 328, as published, can be imported"


@dataclass(frozen=True, eq=False)
class Networks:
    """An avatar's two networks with the files they came from."""

    generator: Generator
    ear: AudioEncoder
    checkpoint: Path
    encoder: Path


def newest_checkpoint(path: Path) -> Path:
    """The file, or the one with the highest number in that folder. Raises AvatarError."""
    if not path.is_dir():
        return path
    numbered = [file for file in path.glob("*.pth") if file.stem.isdigit()]
    if not numbered:
        raise AvatarError(f"{path}: no checkpoint in it: no 1.pth, 2.pth, ...; name the file")
    return max(numbered, key=lambda file: int(file.stem))


def find_encoder(given: Path | None, places: tuple[Path, ...]) -> Path:
    """The audio-visual encoder that was given, or lies in one of the folders. Raises AvatarError.

    The generator hears only through the encoder it was trained with: no other can stand in.
    """
    if given is not None:
        return given
    for place in places:
        for name in _ENCODER_NAMES:
            if (place / name).is_file():
                return place / name
    looked = ", ".join(str(place) for place in places)
    raise AvatarError(
        f"{_ENCODER_NAMES[0]}: not found in {looked}; name it with --audio-encoder: the generator "
        "hears only through the encoder it was trained with"
    )


def load_networks(checkpoint: Path, encoder: Path) -> Networks:
    """Both, strict and finite. Raises AvatarError naming the file, what differs and the remedy."""
    try:
        state = read_state(checkpoint)
        _check_generator(checkpoint, state)
        generator = load_generator(checkpoint)
        _check_finite(encoder, read_state(encoder))
        ear = load_audio_encoder(encoder)
    except WeightsError as error:
        raise AvatarError(str(error)) from error
    return Networks(generator, ear, checkpoint, encoder)


def _check_generator(file: Path, state: State) -> None:
    if "audio_model.conv1.conv.0.weight" not in state or "inc.inconv.0.conv.0.weight" not in state:
        first = next(iter(state), "nothing")
        raise AvatarError(
            f"{file}: not a generator's weights (it begins with {first}); name the checkpoint "
            "that training wrote, as checkpoint/NAME/99.pth"
        )
    channels = state[_HEARING].shape[1]
    if channels != 32:
        mode = _MODES.get(channels, "another mode")
        raise AvatarError(
            f"{file}: trained for {mode} features ({channels} channels, not 32); {_PUBLISHED}"
        )
    if not any(key.startswith("down5.") for key in state):
        raise AvatarError(
            f"{file}: trained at another crop: it halves the picture 4 times, not 5 (as the "
            f"160 px network does); {_PUBLISHED}"
        )
    _check_finite(file, state)


def _check_finite(file: Path, state: State) -> None:
    for key, value in state.items():
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            raise AvatarError(
                f"{file}: {key} has {bad} of {value.numel()} values that are NaN or infinite: its "
                "training went wrong; take an earlier checkpoint"
            )


@torch.no_grad()
def hearing_distance(generator: Generator, features: torch.Tensor) -> float:
    """How far what the generator hears now is from what it heard in training, in standard
    deviations; features (n, 32, 16, 16).

    Its first audio layer remembers the mean of each channel over all of training. With the
    encoder and mode it was trained with the distance is well below 1; a network trained for
    other features (hubert's have the same shapes) is far off.
    """
    first = generator.audio_model.conv1.conv
    heard = first[0](features).mean(dim=(0, 2, 3))
    norm = first[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    spread = torch.sqrt(norm.running_var + norm.eps)
    return float(((heard - norm.running_mean).abs() / spread).mean())
