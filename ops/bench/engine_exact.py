"""How exact each way of running the network is, beside a plain eager float32 run of its weights."""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_node.avatars.crops import image_input
from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, FrameJob
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.engine.torch_engine import TorchEngine
from gpu_node.engine.torch_precision import LEAST_PSNR_DB, psnr_db, sample, speech
from gpu_node.synctalk import load_generator
from ops.figures import Figure

_CPU = torch.device("cpu")


@torch.inference_mode()
def exactness(avatar: Avatar) -> dict[str, Figure]:
    """PSNR of each optimisation, its largest error in the note; two sounds on the first frame."""
    generator = load_generator(avatar.generator_path, avatar.crop, avatar.width)
    image = torch.from_numpy(image_input(avatar.cut(0)))[None].expand(2, -1, -1, -1)
    audio = torch.from_numpy(speech())
    plain = generator(image, audio.reshape(2, 32, 16, 16)).permute(0, 2, 3, 1)
    ways = {
        "psnr_folded_split_db": sample(generator, avatar, _CPU, torch.float32),
        "psnr_half_db": sample(generator, avatar, _CPU, torch.float16),
    }
    figures = {name: _figure(made, plain, "network's output") for name, made in ways.items()}
    compositor = Compositor(avatar)
    wanted = torch.stack(
        [
            torch.from_numpy(compositor.compose(0, (one * 255 + 0.5).to(torch.uint8).numpy()))
            for one in plain
        ]
    )
    engines: tuple[tuple[str, Engine], ...] = (
        ("onnx", OnnxEngine(1, exact=True)),
        ("onnx_int8", OnnxEngine(1)),
        ("torch", TorchEngine("cpu")),
    )
    for name, engine in engines:
        engine.prepare(avatar, compositor)
        made = engine.render([FrameJob(avatar, 0, one) for one in speech()])
        pictures = torch.stack([torch.from_numpy(one.copy()) for one in made])
        figures[f"psnr_{name}_picture_db"] = _figure(
            pictures.float() / 255, wanted.float() / 255, "whole picture, encoder cached"
        )
        if name == "onnx_int8":
            x, y, w, h = avatar.box(0)
            made_box, wanted_box = (one[:, y : y + h, x : x + w] for one in (pictures, wanted))
            figures[f"psnr_{name}_mouth_db"] = _figure(
                made_box.float() / 255, wanted_box.float() / 255, "brightness in the mouth's box"
            )
        engine.close()
    return figures


def _figure(made: Tensor, wanted: Tensor, what: str) -> Figure:
    found = psnr_db(made, wanted)
    levels = 255 * float((made.float() - wanted.float()).abs().max())
    note = f"{what}; largest error {levels:.3g} of 255"
    return Figure(found, "dB", f"≥ {LEAST_PSNR_DB:g}", found >= LEAST_PSNR_DB, note=note)
