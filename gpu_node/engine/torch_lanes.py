"""Streams of the GPU, and work of fixed shape captured as CUDA graphs."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from gpu_node.engine.faults import is_lost

_log = logging.getLogger(__name__)
_WARM_UPS = 2
_RESERVE_BYTES = 2**30
"""Left free: what runs without a graph needs memory of its own."""
Work = Callable[[], None]
Record = Callable[["Workshop", "Lane", Work], Work]


class Lane:
    """One stream and the memory of its graphs. What is put on it runs in order.

    Graphs of a lane share one pool: none of them runs while another does. Graphs of two lanes do,
    so each lane has a pool of its own. On a CPU a lane is nothing: work runs when it is called.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = _stream(device)
        self.pool = None if self.stream is None else torch.cuda.graph_pool_handle()

    def on(self) -> AbstractContextManager[object]:
        """What is launched within goes onto this lane."""
        return _on(self.stream)


class Workshop:
    """Where avatars are made ready: a stream of its own, for another thread renders on the lanes
    meanwhile, and what it launched on a lane would be captured too.

    ``record`` makes a graph; without it work stays as it is, as on a CPU.
    """

    def __init__(self, device: torch.device, record: Record | None) -> None:
        self._record = record
        self._told = False
        self.stream = _stream(device)

    def on(self) -> AbstractContextManager[object]:
        """What is launched within runs beside the lanes."""
        return _on(self.stream)

    def fixed(self, work: Work, lane: Lane) -> Work:
        """``work`` as a graph for the lane, where one can be made, else as it is.

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
            return self._record(self, lane, work)
        except Exception as error:
            if is_lost(error):
                raise
            if not self._told:
                self._told = True
                _log.warning("no CUDA graph, kernels are launched one by one: %s", error)
            return work

    def wait(self) -> None:
        """Until all of it is done; the lanes may use it then."""
        if self.stream is not None:
            self.stream.synchronize()


def captured(workshop: Workshop, lane: Lane, work: Work) -> Work:
    """Records ``work``; what is returned replays it on the current stream.

    torch.cuda.graph would first wait for the whole GPU and empty all stores of memory, pinned
    memory too, under the feet of the thread that renders.

    Raises RuntimeError where the GPU cannot capture it or has too little memory left.
    """
    free, _ = torch.cuda.mem_get_info()
    if free < _RESERVE_BYTES:
        raise RuntimeError(f"{free / 2**20:.0f} MiB of the GPU's memory are free, too little")
    graph = torch.cuda.CUDAGraph()
    workshop.wait()
    # the same stream for all graphs of a pool: only so do they share its memory
    with workshop.on(), _uncollected():
        graph.capture_begin(pool=lane.pool, capture_error_mode="thread_local")
        try:
            work()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
    return graph.replay


class Gather:
    """The lanes that were given work, to be waited for together."""

    def __init__(self) -> None:
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
        last = streams.pop()
        for stream in streams:
            last.wait_stream(stream)
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(last)
        done.synchronize()


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _on(stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
    return contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A collection in this thread might free another graph, which would break the capture."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
