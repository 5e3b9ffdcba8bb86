"""Triton's kernels compile for the GPUs that a worker may have, and fit into them; no GPU needed.

Each kernel is compiled with the very arguments of a launch at the published size.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gpu_node.engine import triton_compose, triton_kernels
from gpu_node.engine.torch_blocks import Block
from gpu_node.engine.torch_compose import DeviceTables
from gpu_node.engine.triton_blocks import TILES, Triton

_GPUS = {"T4": 75, "A10G": 86, "H100": 90}
_SHARED_LIMIT_BYTES = 48 * 1024  # what every one of them gives unasked
_TYPES = {
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.uint8: "*u8",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
_CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def empty(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    """A tensor that is nowhere."""
    return torch.empty(*shape, dtype=dtype, device="meta")


class Launches:
    """Stands in for a kernel, and keeps what it is launched with."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **options: self.given.append((args, options))


def block(hidden: int, co: int, stride: int = 1) -> Block:
    """Of the published network."""
    half = hidden // 2
    return Block(
        empty(half, hidden), empty(hidden), empty(9, hidden), empty(hidden, 1, 3, 3),
        empty(hidden), empty(hidden, co), empty(co), stride, False,
    )  # fmt: skip


def tables(plain: bool) -> DeviceTables:
    """Of 5 frames of 512 x 512, and 3 lengths of box sides."""
    at, across, down = (empty(3, 320, dtype=torch.int32) for _ in range(3))
    return DeviceTables(
        (512, 512), 320, plain, at, empty(3, 320, 4, dtype=torch.int32),
        empty(3, 320, 4, dtype=torch.float32), across, down, empty(5, 4, dtype=torch.int32),
        empty(5, 320, 320, 3, dtype=torch.uint8),
    )  # fmt: skip


def paste(plain: bool) -> None:
    """As a batch of two composes."""
    mouths, out = empty(2, 320, 320, 3, dtype=torch.uint8), empty(2, 393_216, dtype=torch.uint8)
    triton_compose.paste(tables(plain), empty(2, dtype=torch.int64), mouths, out)


def colour() -> None:
    """The last layer."""
    Triton().colour(empty(2, 320, 320, 16), empty(16, 3), empty(3))


def expand(ci: int) -> None:
    """A block's expand at full size."""
    Triton().expand(empty(2, 320, 320, ci), empty(ci, 2 * ci), empty(2 * ci))


def expand_up() -> None:
    """The first expand of the last up block, the largest of all."""
    rows, kept, low = empty(2, dtype=torch.int64), empty(9, 320, 320, 32), empty(2, 160, 160, 128)
    Triton().expand_up(kept, rows, empty(32, 128), low)


def finish(tile: int, given: Block, side: int, onto: bool = False) -> None:
    """The rest of a block at ``side`` px."""
    image = empty(2, side, side, given.project.shape[1]) if onto else None
    Triton(TILES[tile]).finish(empty(2, side, side, len(given.taps_bias)), given, image)


_LAUNCHES: dict[str, tuple[str, Callable[[], None]]] = {
    "expand": ("expand", lambda: expand(6)),
    "expand within": ("expand", lambda: expand(32)),
    "expand_up": ("expand", expand_up),
    "finish first tile": ("finish", lambda: finish(0, block(128, 16), 320)),
    "finish second tile": ("finish", lambda: finish(1, block(128, 16), 320)),
    "finish third tile": ("finish", lambda: finish(2, block(128, 16), 320)),
    "finish halving": ("finish", lambda: finish(0, block(64, 32, 2), 320)),
    "finish the widest": ("finish", lambda: finish(0, block(256, 64), 80, onto=True)),
    "finish without bias": (
        "finish", lambda: finish(0, replace(block(32, 16), project_bias=None), 320, onto=True)
    ),
    "depthwise": ("depthwise", lambda: finish(0, block(1024, 512), 10)),
    "colour": ("colour", colour),
    "paste plain": ("patch", lambda: paste(True)),
    "paste resized": ("patch", lambda: paste(False)),
}  # fmt: skip


@pytest.mark.parametrize("gpu", list(_GPUS))
@pytest.mark.parametrize("name", list(_LAUNCHES))
def test_a_kernel_compiles_for_a_gpu_and_fits_into_it(
    monkeypatch: pytest.MonkeyPatch, name: str, gpu: str
) -> None:
    kernel, launch = _LAUNCHES[name]
    module = triton_compose if kernel == "patch" else triton_kernels
    launches = Launches(getattr(module, kernel))
    monkeypatch.setattr(module, kernel, launches)

    launch()
    (given,) = launches.given
    made = compiled(launches.kernel, *given, gpu=_GPUS[gpu])

    assert made.metadata.shared <= _SHARED_LIMIT_BYTES
    if gpu == "T4":  # Triton does not use its tensor cores: torch's own kernels win there
        return
    assert spilled_bytes(made.asm["cubin"]) == 0
    if kernel in ("expand", "finish"):
        assert "mma" in made.asm["ptx"]  # the tensor cores


def compiled(kernel: Any, args: tuple[Any, ...], given: dict[str, Any], gpu: int) -> Any:
    """The kernel as that launch would have it compiled."""
    values = dict(zip(kernel.arg_names, args, strict=False))
    values |= {name: value for name, value in given.items() if name in kernel.arg_names}
    options = {name: value for name, value in given.items() if name not in kernel.arg_names}
    signature, constants, aligned = {}, {}, {}
    for at, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[(at,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = _TYPES[value.dtype]
            aligned[(at,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", gpu, 32), options=options)


def spilled_bytes(cubin: bytes) -> int:
    """Of a thread's registers, to memory."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run(
            [_CUOBJDUMP, "--dump-resource-usage", file.name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    return sum(int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", told))
