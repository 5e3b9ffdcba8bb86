"""``rapido bench engine``: the engine beside the usual loop, in the same run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar, load_avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.features import FPS, MelStream
from ops.bench.stage import BenchError
from ops.figures import Figure, median, write

Say = Callable[[str], None]
Audio = npt.NDArray[np.float32]
_FRAMES = 12
"""Of the background: enough that a disk's cache is not all that is measured, few to prepare."""
_TICK_SAMPLES = 16_000 // FPS


def engine(out: Path, quick: bool, say: Say) -> dict[str, Figure]:
    """The networks, the audio front end and the host's part, each against its baseline."""
    try:
        import torch
    except ImportError:
        raise BenchError(
            "bench engine compares with torch, which is not installed here: run make bench"
        ) from None
    rounds = 3 if quick else 9
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        full = published(Path(folder))
        demo = shortened(load_avatar("demo"))
        cores = os.cpu_count() or 1
        say(f"the published size on {cores} cores, beside the usual loop")
        figures["full_vs_reference_cpu"] = _frames(full, cores, rounds, 4 * cores, 2.5, torch)
        say("the demo avatar on one core, beside the usual loop")
        figures["demo_vs_reference_cpu"] = _frames(demo, 1, rounds, 24, 4.5, torch)
        say("the audio encoder, a frame at a time, on one core")
        figures["audio_vs_eager_cpu"] = _audio(full, rounds, torch)
        say("the host's part of a frame at 512 x 512")
        figures["host_vs_reference"] = _host(full, rounds, torch)
        say("how exact each way of running the trained network is")
        from ops.bench.engine_exact import exactness

        figures |= exactness(demo)
        gpu = None
        if torch.cuda.is_available():
            from ops.bench.engine_gpu import gpu_figures

            figures |= gpu_figures(full, torch.device("cuda"), 0.5 if quick else 3.0, say)
            gpu = torch.cuda.get_device_name()
    write(out / "engine.json", "engine", figures, gpu)
    return figures


def _frames(
    avatar: Avatar, cores: int, rounds: int, frames: int, goal: float, torch: Any
) -> Figure:
    """Frames a second of both, in turns: what else the machine does hits both."""
    from gpu_node.synctalk import load_generator
    from ops.bench.reference import ReferenceLoop, write_frames

    torch.set_num_threads(cores)
    ours = OnnxEngine(cores)
    ours.prepare(avatar, Compositor(avatar))
    audio = _heard(frames)
    generator = load_generator(avatar.generator_path, avatar.crop, avatar.width)
    with tempfile.TemporaryDirectory() as folder:
        write_frames(avatar, Path(folder))
        loop = ReferenceLoop(avatar, generator, Path(folder))
        few = max(2, frames // 4)

        def usual() -> None:
            for at in range(few):
                loop.frame(at % _FRAMES, audio[at])

        def batched() -> None:
            for at in range(0, frames, 2 * cores):
                part = range(at, min(frames, at + 2 * cores))
                ours.render([FrameJob(avatar, one % _FRAMES, audio[one]) for one in part])

        usual_s, ours_s = _in_turns(rounds, usual, batched)
    ours.close()
    return _ratio(frames / ours_s, few / usual_s, "frames/s", goal, f"{cores} core(s)")


def _audio(avatar: Avatar, rounds: int, torch: Any) -> Figure:
    from gpu_node.synctalk import load_audio_encoder
    from ops.bench.reference import eager_ear

    torch.set_num_threads(1)
    ours = OnnxEngine(1)
    ours.prepare(avatar, Compositor(avatar))
    usual = eager_ear(load_audio_encoder(avatar.audio_encoder_path))
    sound = np.random.default_rng(5).normal(0, 0.1, 2 * 16_000).astype(np.float32)
    pieces = np.split(sound, len(sound) // _TICK_SAMPLES)

    def hear(heard: Callable[[Sequence[Audio]], object]) -> Callable[[], None]:
        def run() -> None:
            mel = MelStream()
            for piece in pieces:
                mel.push(piece)
                heard(mel.windows())

        return run

    usual_s, ours_s = _in_turns(
        rounds,
        hear(lambda windows: [usual(window) for window in windows]),
        hear(lambda windows: ours.encode(avatar, windows)),
    )
    ours.close()
    return _ratio(len(pieces) / ours_s, len(pieces) / usual_s, "frames/s", 3.0, "mel included")


def _host(avatar: Avatar, rounds: int, torch: Any) -> Figure:
    from gpu_node.synctalk import load_generator
    from ops.bench.reference import ReferenceLoop, write_frames

    cv2.setNumThreads(1)
    compositor = Compositor(avatar)
    generator = load_generator(avatar.generator_path, avatar.crop, avatar.width)
    random = np.random.default_rng(6)
    picture = random.integers(0, 256, (avatar.crop, avatar.crop, 3), np.uint8)
    made = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255.0)
    with tempfile.TemporaryDirectory() as folder:
        write_frames(avatar, Path(folder))
        loop = ReferenceLoop(avatar, generator, Path(folder))

        def usual() -> None:
            for frame in range(_FRAMES):
                loop.paste(loop.read(frame), frame, made)

        def ours() -> None:
            for frame in range(_FRAMES):
                compositor.compose(frame, picture)

        usual_s, ours_s = _in_turns(5 * rounds, usual, ours)
    cv2.setNumThreads(-1)
    usual_ms, ours_ms = 1e3 * usual_s / _FRAMES, 1e3 * ours_s / _FRAMES
    note = "ratio = baseline ÷ value: JPEG read, six channels, paste, whole-frame conversion"
    ratio = usual_ms / ours_ms
    return Figure(ours_ms, "ms", "ratio ≥ 6", ratio >= 6.0, usual_ms, ratio, note)


def _in_turns(
    rounds: int, first: Callable[[], None], second: Callable[[], None]
) -> tuple[float, float]:
    """Median seconds of each, after one of each that does not count."""
    first_s, second_s = [], []
    for at in range(rounds + 1):
        for run, spent in ((first, first_s), (second, second_s)):
            began = time.perf_counter()
            run()
            if at:
                spent.append(time.perf_counter() - began)
    return median(first_s), median(second_s)


def _ratio(ours: float, usual: float, unit: str, goal: float, what: str) -> Figure:
    ratio = ours / usual
    note = f"ratio = value ÷ baseline, the usual loop; {what}"
    return Figure(ours, unit, f"ratio ≥ {goal:g}", ratio >= goal, usual, ratio, note)


def _heard(frames: int) -> list[Audio]:
    random = np.random.default_rng(4)
    return [random.normal(size=(16, 512)).astype(np.float32) for _ in range(frames)]


def shortened(avatar: Avatar) -> Avatar:
    return replace(avatar, frames=avatar.frames[:_FRAMES], boxes=avatar.boxes[:_FRAMES])


def published(folder: Path, crop: int = 320, width: int = 32, border: int = 4) -> Avatar:
    """The demo avatar's background under networks of the published size, or of another; weights
    drawn by lot."""
    import torch
    from safetensors.torch import save_file

    from gpu_node.synctalk import AudioEncoder, Generator

    torch.manual_seed(1)
    save_file(Generator(crop, width).state_dict(), folder / "generator.safetensors")
    save_file(AudioEncoder(width).state_dict(), folder / "audio_encoder.safetensors")
    demo = shortened(load_avatar("demo"))
    x, y, w, h = demo.box(0)
    side = min(crop + 2 * border, *demo.size)
    left = min(max(0, x + w // 2 - side // 2), demo.size[0] - side) // 2 * 2
    top = min(max(0, y + h // 2 - side // 2), demo.size[1] - side) // 2 * 2
    files = {role: {"path": f"{role}.safetensors"} for role in ("generator", "audio_encoder")}
    return replace(
        demo,
        name="published",
        path=folder,
        manifest={"audio_width": width, "files": files},
        boxes=np.array([[left, top, side, side]] * _FRAMES, np.int32),
        crop=crop,
        width=width,
        border=border,
    )
