"""Reads SyncTalk 2D state dicts, as published, without running code that comes with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gpu_node.synctalk.model import PUBLISHED_CROP, PUBLISHED_WIDTH, AudioEncoder, Generator

ENCODER_PREFIX = "audio_encoder."
_WIDTH_KEYS = ("inc.inconv.0.conv.6.weight", "0.conv_block.0.weight")


class WeightsError(Exception):
    """A weights file cannot be used; the message names the file, the fault and the remedy."""


def load_generator(
    path: Path | str, crop: int = PUBLISHED_CROP, width: int = PUBLISHED_WIDTH
) -> Generator:
    """The generator with the weights of `path` (.pth or .safetensors), in evaluation mode.

    Raises WeightsError for a damaged file, one that holds code, other keys or shapes, and numbers
    that are none. Neither the crop nor the mode hubert leaves a trace in keys or shapes (the
    network is convolutional; hubert differs by a stride), so they cannot be told from the file.
    """
    model = Generator(crop, width)
    _fill(model, read_state(path), Path(path))
    return model


def load_audio_encoder(path: Path | str, width: int = PUBLISHED_WIDTH) -> AudioEncoder:
    """The audio encoder with the weights of `path`; keys may begin with `audio_encoder.`.

    Raises WeightsError as `load_generator` does.
    """
    state = read_state(path)
    if state and all(key.startswith(ENCODER_PREFIX) for key in state):
        state = {key.removeprefix(ENCODER_PREFIX): value for key, value in state.items()}
    model = AudioEncoder(width)
    _fill(model, state, Path(path))
    return model


def read_state(path: Path | str) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or .pth file; nothing in the file is executed."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; name a .pth or .safetensors state dict")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: not a plain state dict: it is damaged or holds code, which is never run; "
            "save it again with torch.save(model.state_dict(), ...)"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: the file is damaged ({error}); fetch it again") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"{path}: not a state dict of tensors; save model.state_dict() alone")
    return state


def _fill(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    expected = model.state_dict()
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"{path}: {len(missing)} keys are missing ({_first(missing)}) and "
            f"{len(unexpected)} are unexpected ({_first(unexpected)}); "
            f"it is not a state dict of {type(model).__name__}"
        )
    wrong = [key for key, value in expected.items() if state[key].shape != value.shape]
    if wrong:
        key = wrong[0]
        found, wanted = tuple(state[key].shape), tuple(expected[key].shape)
        raise WeightsError(
            f"{path}: {len(wrong)} tensors have another shape ({key}: {found}, not {wanted}); "
            + _other(wrong, state)
        )
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"{path}: {key} holds NaN or infinite numbers: its training broke down; "
                "take an earlier checkpoint"
            )
    model.load_state_dict({key: value.float() for key, value in state.items()})
    model.eval()


def _other(wrong: list[str], state: dict[str, torch.Tensor]) -> str:
    """What kind of checkpoint it is instead, and the remedy."""
    if all(key.startswith("audio_model.") for key in wrong):
        return (
            "only its audio branch differs: it hears other features, as in mode wenet; "
            "train the avatar in mode ave"
        )
    for first in _WIDTH_KEYS:
        if first in wrong:
            width = len(state[first])
            return f"it was made with width {width}; give the crop and width it was trained with"
    return "give the crop and width it was trained with"


def _first(names: list[str]) -> str:
    return names[0] if names else "none"
