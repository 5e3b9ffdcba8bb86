"""Which kernel runs which step: measured here, on this GPU, at each shape that comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gpu_node.engine.faults import is_lost
from gpu_node.engine.torch_blocks import Block, Eager, Kernels

_WARM, _TIMED = 2, 5
_QUEUE_CYCLES = 5_000_000  # about 3 ms
_TOLERANCE = 0.01
"""Of the largest value: half precision differs by a tenth of it from sum to sum."""
_log = logging.getLogger(__name__)
_Step = Callable[[Kernels, Tensor | None], Tensor]
"""A step run by given kernels, added to a picture or to none."""


def kernels(device: torch.device) -> Kernels:
    """What the network's steps run on: torch's own operators, and Triton's where a GPU has it."""
    if device.type != "cuda":
        return Eager()
    try:
        from gpu_node.engine.triton_blocks import TILES, Triton
    except ImportError as error:
        _log.warning("no Triton kernels, torch's own run: %s", error)
        return Eager()
    rivals: list[tuple[str, Kernels]] = [
        (f"triton {tile.height}x{tile.width}x{tile.channels}", Triton(tile)) for tile in TILES
    ]
    rivals.append(("triton 3x3 alone", Triton(TILES[0], fused=False)))
    return Choice(rivals, gpu_seconds)


class Choice:
    """At a shape's first call every rival must agree with torch's own kernel, and the quickest is
    kept. One that fails is not asked again for that step; the log says so once.
    """

    def __init__(
        self,
        rivals: Sequence[tuple[str, Kernels]],
        seconds: Callable[[Callable[[], object]], float],
    ) -> None:
        self._own = Eager()
        self._rivals = rivals
        self._seconds = seconds
        self._chosen: dict[tuple[object, ...], Kernels] = {}
        self._failed: set[tuple[str, str]] = set()
        self.names: dict[tuple[object, ...], str] = {}
        """Step and shapes to the kernel that runs it."""

    def expand(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See Kernels."""
        key = ("expand", image.dtype, *image.shape, weight.shape[1])
        return self._run(key, lambda by, _: by.expand(image, weight, bias), None)

    def expand_up(self, kept: Tensor, rows: Tensor, weight: Tensor, low: Tensor) -> Tensor:
        """See Kernels."""
        key = ("expand_up", kept.dtype, *low.shape, kept.shape[-1])
        return self._run(key, lambda by, _: by.expand_up(kept, rows, weight, low), None)

    def finish(self, hidden: Tensor, block: Block, image: Tensor | None) -> Tensor:
        """See Kernels."""
        key = ("finish", hidden.dtype, *hidden.shape, block.project.shape[1], block.stride,
               image is None, block.project_bias is None)  # fmt: skip
        return self._run(key, lambda by, onto: by.finish(hidden, block, onto), image)

    def colour(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See Kernels."""
        key = ("colour", image.dtype, *image.shape)
        return self._run(key, lambda by, _: by.colour(image, weight, bias), None)

    def _run(self, key: tuple[object, ...], step: _Step, onto: Tensor | None) -> Tensor:
        chosen = self._chosen.get(key)
        if chosen is None and not _capturing():
            chosen = self._chosen[key] = self._choose(key, step, onto)
        return step(chosen or self._own, onto)

    def _choose(self, key: tuple[object, ...], step: _Step, onto: Tensor | None) -> Kernels:
        def fresh() -> Tensor | None:
            return None if onto is None else onto.clone()

        scratch = fresh()
        wanted = step(self._own, fresh())
        best: Kernels = self._own
        best_s, self.names[key] = self._seconds(lambda: step(self._own, scratch)), "torch"
        for name, rival in self._rivals:
            if (name, str(key[0])) in self._failed:
                continue
            try:
                made = step(rival, fresh())
                error = disagreement(made, wanted)
                if error > _TOLERANCE:
                    raise ArithmeticError(f"off by {error:.2g} of the largest value")
                took_s = self._seconds(lambda rival=rival: step(rival, scratch))  # type: ignore[misc]
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:
                if is_lost(error):
                    raise
                self._failed.add((name, str(key[0])))
                _log.warning("%s is not used for %s: %s", name, key[0], error)
                continue
            if took_s < best_s:
                best, best_s, self.names[key] = rival, took_s, name
        return best


def disagreement(made: Tensor, wanted: Tensor) -> float:
    """Largest difference, in shares of the largest value; infinite for another shape or for NaN."""
    if made.shape != wanted.shape or made.dtype != wanted.dtype:
        return float("inf")
    largest = max(1e-3, float(wanted.float().abs().max()))
    error = float((made.float() - wanted.float()).abs().max()) / largest
    return error if error == error else float("inf")


def gpu_seconds(run: Callable[[], object]) -> float:
    """Seconds that the GPU takes for one run, as in a captured graph: launching does not count,
    for all runs are queued while the GPU is kept busy."""
    for _ in range(_WARM):
        run()
    torch.cuda._sleep(_QUEUE_CYCLES)  # type: ignore[no-untyped-call]
    began, ended = _event(), _event()
    began.record()
    for _ in range(_TIMED):
        run()
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3 / _TIMED


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
