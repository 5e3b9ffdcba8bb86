"""Small avatars whose networks are made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from gpu_node.avatars.crops import image_input
from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.synctalk import AudioEncoder, Generator, load_audio_encoder, load_generator

Box = tuple[int, int, int, int]


def lively(crop: int = 96, width: int = 2, seed: int = 3) -> Generator:
    """Its BatchNorms have statistics and weights of their own, and its picture has contrast."""
    torch.manual_seed(seed)
    model = Generator(crop, width)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.5, 0.2)  # alive behind its ReLU
            module.momentum = None  # the very statistics, else speech fades on its way
    model.outc.conv.weight.data.mul_(8.0)
    with torch.no_grad():
        for _ in range(8):
            model(torch.rand(2, 6, crop, crop), torch.randn(2, 32, 16, 16))
    return model.eval()


def of_one_colour(bgr: tuple[int, int, int], crop: int = 96, width: int = 2) -> Generator:
    """Whatever it sees and hears, it paints ``bgr``."""
    model = Generator(crop, width).eval()
    shares = torch.tensor(bgr, dtype=torch.float64).clamp(0.5, 254.5) / 255
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.outc.conv.bias.copy_(torch.log(shares / (1 - shares)))
    return model


def hearing(width: int = 2, seed: int = 4) -> AudioEncoder:
    """An audio encoder with statistics of its own."""
    torch.manual_seed(seed)
    model = AudioEncoder(width)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 1, 80, 16))
    return model.eval()


def avatar(
    folder: Path,
    generator: Generator,
    boxes: Sequence[Box],
    *,
    name: str = "test",
    size: tuple[int, int] = (192, 160),
    border: int = 0,
    frames: np.ndarray | None = None,
) -> Avatar:
    """One frame a box, random where none are given; its networks' files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    ear = hearing()
    save_file(generator.state_dict(), folder / "generator.safetensors")
    save_file(ear.state_dict(), folder / "audio_encoder.safetensors")
    if frames is None:
        shape = (len(boxes), size[1], size[0], 3)
        frames = np.random.default_rng(len(name)).integers(0, 256, shape, np.uint8)
    return Avatar(
        name=name,
        path=folder,
        fps=25,
        size=size,
        crop=generator.crop,
        width=generator.width,
        manifest={
            "audio_width": ear.width,
            "files": {
                "generator": {"path": "generator.safetensors"},
                "audio_encoder": {"path": "audio_encoder.safetensors"},
            },
        },
        frames=frames,
        boxes=np.array(boxes, np.int32),
        border=border,
    )


def speech(seed: int) -> np.ndarray:
    """Features (16, 512) as a frame hears them."""
    return np.random.default_rng(seed).normal(size=(16, 512)).astype(np.float32)


def plain_picture(job: FrameJob) -> np.ndarray:
    """The job's picture as the published networks make it: eager, float32, one frame."""
    one = job.avatar
    model = load_generator(one.generator_path, one.crop, one.width)
    with torch.inference_mode():
        image = torch.from_numpy(image_input(one.cut(job.frame)))[None]
        made = model(image, torch.from_numpy(job.audio).reshape(1, 32, 16, 16))[0]
    mouth = (made * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    return Compositor(one).compose(job.frame, mouth)


def plain_features(one: Avatar, windows: Sequence[np.ndarray]) -> np.ndarray:
    """Features (n, 512) of mel windows, likewise."""
    model = load_audio_encoder(one.audio_encoder_path, one.audio_width)
    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(np.stack(windows))[:, None]))
