"""The engines: one port, the same pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpu_node.avatars.package import Avatar, AvatarError
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, EngineError, FrameJob, make_engine
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.engine.torch_engine import TorchEngine


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    """Two plain frames, and networks whose statistics are not the identity."""
    import torch
    from safetensors.torch import save_file

    from gpu_node.synctalk import AudioEncoder, Generator

    torch.manual_seed(3)
    path: Path = tmp_path_factory.mktemp("avatar")
    generator, ear = Generator(160, 16), AudioEncoder(16)
    for _ in range(3):
        generator(torch.rand(4, 6, 160, 160), torch.randn(4, 32, 16, 16))
        ear(torch.randn(4, 1, 80, 16))
    save_file(generator.state_dict(), path / "generator.safetensors")
    save_file(ear.state_dict(), path / "audio_encoder.safetensors")
    random = np.random.default_rng(1)
    return Avatar(
        name="test",
        path=path,
        fps=25,
        size=(256, 256),
        crop=160,
        width=16,
        manifest={
            "audio_width": 16,
            "files": {
                "generator": {"path": "generator.safetensors"},
                "audio_encoder": {"path": "audio_encoder.safetensors"},
            },
        },
        frames=random.integers(0, 255, (2, 256, 256, 3), np.uint8),
        boxes=np.array([[40, 40, 160, 160], [42, 44, 160, 160]], np.int32),
    )


@pytest.fixture(scope="module")
def engines(avatar: Avatar) -> tuple[Engine, Engine]:
    # only one of the two frames is kept by the first, so that both of its ways are compared
    both: tuple[Engine, Engine] = (OnnxEngine(2, cache_mib=0.1), TorchEngine("cpu"))
    for engine in both:
        engine.prepare(avatar, Compositor(avatar))
    return both


def test_onnx_and_torch_hear_the_same(avatar: Avatar, engines: tuple[Engine, Engine]) -> None:
    random = np.random.default_rng(2)
    windows = [random.normal(size=(80, 16)).astype(np.float32) for _ in range(3)]

    first, second = (np.stack(engine.encode(avatar, windows)) for engine in engines)

    assert first.shape == (3, 512)
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_onnx_and_torch_paint_the_same(avatar: Avatar, engines: tuple[Engine, Engine]) -> None:
    random = np.random.default_rng(4)
    jobs = [
        FrameJob(avatar, frame, random.normal(size=(16, 512)).astype(np.float32))
        for frame in (1, 0, 1)
    ]

    first, second = (np.stack(engine.render(jobs)).astype(int) for engine in engines)

    assert first.shape == (3, 384, 256)
    noise = max(1e-9, float(((first - second) ** 2).mean()))
    assert 10 * np.log10(255**2 / noise) >= 40
    assert np.abs(first - second).max() <= 1
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("engine", [OnnxEngine(1), TorchEngine("cpu")], ids=["onnx", "torch"])
def test_weights_of_another_network_are_refused(avatar: Avatar, engine: Engine) -> None:
    files = {
        "generator": {"path": "audio_encoder.safetensors"},
        "audio_encoder": {"path": "generator.safetensors"},
    }
    swapped = replace(avatar, manifest={**avatar.manifest, "files": files})

    with pytest.raises(AvatarError, match=r"audio_encoder\.safetensors.*missing"):
        engine.prepare(swapped, Compositor(swapped))


@pytest.mark.parametrize("engine", [OnnxEngine(1), TorchEngine("cpu")], ids=["onnx", "torch"])
def test_weights_of_another_width_are_refused(avatar: Avatar, engine: Engine) -> None:
    wider = replace(avatar, width=32)

    with pytest.raises(AvatarError, match=r"generator\.safetensors"):
        engine.prepare(wider, Compositor(wider))


def test_the_cpu_engine_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from gpu_node.engine import make_engine; make_engine('cpu');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_device_is_a_clear_error() -> None:
    with pytest.raises(EngineError, match="auto, cpu or cuda"):
        make_engine("tpu")
