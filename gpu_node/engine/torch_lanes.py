"""Streams of the GPU, and work of fixed shape captured as CUDA graphs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

_log = logging.getLogger(__name__)
_WARM_UPS = 2
_RESERVE_BYTES = 2**30
"""Left free: what runs without a graph needs memory of its own."""
Work = Callable[[], None]


class Lane:
    """One stream and the memory of its graphs. What is put on it runs in order.

    Graphs of a lane share one pool: none of them runs while another does. Graphs of two lanes do,
    so each lane has a pool of its own. On a CPU a lane is nothing: work runs when it is called.
    """

    def __init__(self, device: torch.device, record: Callable[[Lane, Work], Work] | None) -> None:
        self._record = record
        self._told = False
        self.stream = _stream(device) if device.type == "cuda" else None
        self.pool = torch.cuda.graph_pool_handle() if self.stream is not None else None

    def on(self) -> AbstractContextManager[object]:
        """What is launched within goes onto this lane."""
        return contextlib.nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def fixed(self, work: Work) -> Work:
        """``work`` as a graph, where one can be made, else as it is.

        Its tensors must stay where they are, and it must not wait for the GPU. It runs before it
        is captured, so that what is measured or compiled at first sight is ready; raises what it
        raises, torch.cuda.OutOfMemoryError too.
        """
        if self._record is None:
            return work
        with self.on():
            for _ in range(_WARM_UPS):
                work()
        try:
            return self._record(self, work)
        except Exception as error:  # noqa: BLE001 - a capture fails in many ways, none of them fatal
            if not self._told:
                self._told = True
                _log.warning("no CUDA graph, kernels are launched one by one: %s", error)
            return work


def captured(lane: Lane, work: Work) -> Work:
    """Records ``work`` on the lane; what is returned replays it on the current stream.

    Raises RuntimeError where the GPU cannot capture it or has too little memory left.
    """
    free, _ = torch.cuda.mem_get_info()
    if free < _RESERVE_BYTES:
        raise RuntimeError(f"{free / 2**20:.0f} MiB of the GPU's memory are free, too little")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(
        graph, pool=lane.pool, stream=lane.stream, capture_error_mode="thread_local"
    ):
        work()
    return graph.replay


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Gather:
    """The lanes that were given work, to be waited for together."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lanes: dict[Lane, None] = {}

    def add(self, lane: Lane) -> None:
        """Wait for it too."""
        self._lanes[lane] = None

    def wait(self) -> None:
        """One wait for the work of all lanes. It sleeps: a core that spins would be missing in the
        encoders."""
        streams = [lane.stream for lane in self._lanes if lane.stream is not None]
        if not streams:
            return
        current = torch.cuda.current_stream(self._device)
        for stream in streams:
            current.wait_stream(stream)
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(current)
        done.synchronize()
