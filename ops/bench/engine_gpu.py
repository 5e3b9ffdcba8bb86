"""The GPU engine beside the usual loop on the same GPU: part of ``rapido bench engine`` where there
is one, and a program of its own: ``python -m ops.bench.engine_gpu --help``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gpu_node.avatars.package import Avatar, load_avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.engine.torch_avatar import SIZES
from gpu_node.engine.torch_choice import Choice
from gpu_node.engine.torch_engine import TorchEngine
from gpu_node.engine.torch_precision import LEAST_PSNR_DB, psnr_db
from gpu_node.features import COLUMNS, FPS, N_MELS
from gpu_node.synctalk import load_generator
from ops.bench.engine import published, shortened
from ops.bench.reference import Image, ReferenceLoop, write_frames
from ops.figures import Figure, write

Say = Callable[[str], None]
_FRAME_MB, _WEIGHTS_MB = 48.0, 24.4
"""At the published size in half precision, encoder cached: what a frame moves where blocks of 80²
and more stay on chip, and a batch's weights."""
_COPIED_BYTES = 2**28
_MOST_STREAMS = 4096
_TICK_S = 1.0 / FPS


class GpuLoop(ReferenceLoop):
    """The usual loop as it runs on a GPU: float32, a frame at a time, everything each time."""

    def __init__(self, avatar: Avatar, folder: Path, device: torch.device) -> None:
        generator = load_generator(avatar.generator_path, avatar.crop, avatar.width)
        super().__init__(avatar, generator.to(device), folder)
        self._device = device

    def frame(self, frame: int, audio: npt.NDArray[np.float32]) -> Image:
        """See ReferenceLoop."""
        prepared = self.read(frame)
        with torch.no_grad():
            given = torch.from_numpy(audio).reshape(1, 32, 16, 16).to(self._device)
            made = self._generator(prepared.image.to(self._device), given)[0].cpu()
        return self.paste(prepared, frame, made)


def gpu_figures(
    avatar: Avatar, device: torch.device, seconds: float, say: Say
) -> dict[str, Figure]:
    """``seconds`` for each thing that is measured."""
    say(f"the usual loop on {device}")
    with tempfile.TemporaryDirectory() as folder:
        write_frames(avatar, Path(folder))
        loop = GpuLoop(avatar, Path(folder), device)
        usual = _rate(lambda: loop.frame(1, _heard(1)[0]), seconds)
    say("the engine makes the avatar ready")
    engine = TorchEngine(device.type)
    began = time.perf_counter()
    engine.prepare(avatar, Compositor(avatar))
    ready_s = time.perf_counter() - began
    rates = {}
    for size in SIZES:
        say(f"the engine in batches of {size}")
        jobs = _jobs([avatar], size)
        rates[size] = size * _rate(lambda jobs=jobs: engine.render(jobs), seconds)  # type: ignore[misc]
    best = max(rates, key=lambda size: rates[size])
    figures = {
        f"frames_batch_{size}": Figure(rate, "frames/s", "", None) for size, rate in rates.items()
    }
    ratio = rates[best] / usual
    note = f"ratio = value ÷ baseline, the usual loop; batches of {best}; {_kernels(engine)}"
    figures["full_vs_reference_gpu"] = Figure(rates[best], "frames/s", "", None, usual, ratio, note)
    figures["prepare_s"] = Figure(ready_s, "s", "", None, note="one avatar, all batch sizes")
    figures["share_of_memory_ceiling"] = _share(avatar, device, rates[best], best)
    figures["psnr_gpu_picture_db"] = _exact(engine)
    for many, name in ((1, ""), (4, "_4_avatars"), (12, "_12_avatars")):
        say(f"25 fps streams, {many} avatar(s)")
        avatars = [avatar, *(replace(avatar, name=f"{avatar.name}-{at}") for at in range(1, many))]
        for one in avatars:
            engine.prepare(one, Compositor(one))
        held = _streams(engine, avatars, seconds)
        note = "largest number whose ticks, features and composition included, take 40 ms at p95"
        figures[f"streams_25fps_engine{name}"] = Figure(held, "streams", "", None, note=note)
        for one in avatars[1:]:
            engine.forget(one)
    engine.close()
    return figures


def _share(avatar: Avatar, device: torch.device, rate: float, batch: int) -> Figure:
    """Frames a second as a share of what the memory's own speed allows."""
    source = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    bytes_s = 2 * _COPIED_BYTES * _rate(copy, 0.5)
    area, width = (avatar.crop / 320) ** 2, avatar.width / 32
    frame = 1e6 * (_FRAME_MB * area * width + _WEIGHTS_MB * width**2 / batch)
    ceiling = bytes_s / frame
    note = (
        f"frames/s ÷ ceiling of {ceiling:.0f}: a copy moves {bytes_s / 1e9:.0f} GB/s, a frame "
        f"{frame / 1e6:.1f} MB where blocks of 80 x 80 and more stay on chip"
    )
    return Figure(rate / ceiling, "", "", None, note=note)


def _exact(engine: TorchEngine) -> Figure:
    """Whole pictures of the demo avatar beside those of the CPU's engine: it is trained, and what
    is off in one layer shows, as it would not with weights by lot."""
    avatar = shortened(load_avatar("demo"))
    engine.prepare(avatar, Compositor(avatar))
    jobs = _jobs([avatar], 8)
    other = OnnxEngine(1, exact=True)
    other.prepare(avatar, Compositor(avatar))
    made, wanted = (
        torch.from_numpy(np.stack(one.render(jobs)).astype(np.float64) / 255)
        for one in (engine, other)
    )
    other.close()
    engine.forget(avatar)
    found = psnr_db(made, wanted)
    levels = 255 * float((made - wanted).abs().max())
    note = f"the demo avatar, beside onnxruntime's; largest error {levels:.3g} of 255"
    return Figure(found, "dB", f"≥ {LEAST_PSNR_DB:g}", found >= LEAST_PSNR_DB, note=note)


def _streams(engine: TorchEngine, avatars: Sequence[Avatar], seconds: float) -> int:
    """Doubles, then halves the interval."""

    def holds(streams: int) -> bool:
        return _tick_s(engine, avatars, streams, seconds) <= _TICK_S

    low, high = 0, 1
    while high <= _MOST_STREAMS and holds(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _tick_s(engine: TorchEngine, avatars: Sequence[Avatar], streams: int, seconds: float) -> float:
    """95th percentile of a tick: one window heard and one picture made for each stream."""
    jobs = _jobs(avatars, streams)
    window = np.zeros((N_MELS, COLUMNS), np.float32)
    took: list[float] = []
    engine.render(jobs)
    until = time.perf_counter() + seconds
    while len(took) < 5 or time.perf_counter() < until:
        began = time.perf_counter()
        for at, avatar in enumerate(avatars):
            engine.encode(avatar, [window] * len(jobs[at :: len(avatars)]))
        engine.render(jobs)
        took.append(time.perf_counter() - began)
    return float(np.percentile(took, 95))


def _jobs(avatars: Sequence[Avatar], count: int) -> list[FrameJob]:
    """Dealt out to the avatars in turn."""
    heard, frames = _heard(8), len(avatars[0].frames)
    return [FrameJob(avatars[at % len(avatars)], at % frames, heard[at % 8]) for at in range(count)]


def _heard(count: int) -> list[npt.NDArray[np.float32]]:
    random = np.random.default_rng(4)
    return [random.normal(size=(16, 512)).astype(np.float32) for _ in range(count)]


def _rate(run: Callable[[], object], seconds: float) -> float:
    """Runs a second, once to warm up not counted."""
    run()
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < seconds:
        run()
        count += 1
    return count / (time.perf_counter() - began)


def _kernels(engine: TorchEngine) -> str:
    if not isinstance(engine.kernels, Choice):
        return "torch's own kernels"
    counted = Counter(engine.kernels.names.values())
    return "shapes by kernel: " + ", ".join(f"{name} {n}" for name, n in counted.most_common())


def main() -> int:
    """0, whatever holds: this measures."""
    parser = argparse.ArgumentParser(description="Measures the torch engine on one device.")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each thing measured")
    parser.add_argument("--out", type=Path, default=Path("out/bench/engine_gpu.json"))
    given = parser.parse_args()
    device = torch.device(given.device)
    border = 4 if given.crop == 320 else 0
    with tempfile.TemporaryDirectory() as folder:
        avatar = published(Path(folder), given.crop, given.width, border)
        figures = gpu_figures(avatar, device, given.seconds, lambda text: print(text, flush=True))
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    write(given.out, "engine_gpu", figures, gpu)
    for name, figure in figures.items():
        print(f"{name} {figure.value:.4g} {figure.unit}  {figure.note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
