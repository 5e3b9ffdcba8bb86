"""Coloured avatars in one engine: whoever joins, leaves or fails, each gets its own picture."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.engine.torch_engine import TorchEngine
from gpu_node.features import COLUMNS, N_MELS
from gpu_node.inference import Inference, Work
from gpu_node.metrics import Metrics
from gpu_node.pcm import PLAYOUT_RATE_HZ, PcmFormat
from gpu_node.segment import Segment
from tests.unit.tiny_avatars import avatar, of_one_colour

COLOURS = {"red": (20, 20, 220), "green": (20, 200, 20), "blue": (220, 30, 30)}
GREYS = (60, 120, 180)
WINDOW = np.zeros((N_MELS, COLUMNS), np.float32)


@pytest.fixture(scope="module")
def avatars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Avatar]:
    """The mouth says whose picture it is, the grey around it which background."""
    frames = np.stack([np.full((160, 192, 3), grey, np.uint8) for grey in GREYS])
    folder = tmp_path_factory.mktemp("coloured")
    return {
        name: avatar(
            folder / name, of_one_colour(bgr), [(40, 40, 96, 96)] * 3, name=name, frames=frames
        )
        for name, bgr in COLOURS.items()
    }


@pytest.fixture(scope="module", params=["onnx", "torch"])
def engine(request: pytest.FixtureRequest, avatars: dict[str, Avatar]) -> Iterator[Engine]:
    made: Engine = (
        OnnxEngine(2, exact=True) if request.param == "onnx" else TorchEngine("cpu", max_batch=4)
    )
    for one in avatars.values():
        made.prepare(one, Compositor(one))
    yield made
    made.close()


TICK = st.lists(
    st.tuples(
        st.sampled_from(list(COLOURS)),
        st.integers(0, 2),
        st.sampled_from(["speaks", "speaks", "speaks", "leaves", "is broken"]),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(ticks=st.lists(TICK, min_size=1, max_size=3))
def test_every_session_gets_its_own_mouth_over_its_own_background(
    engine: Engine, avatars: dict[str, Avatar], ticks: list[list[tuple[str, int, str]]]
) -> None:
    async def run() -> None:
        inference = Inference(engine, Metrics())
        inference.close = lambda: None  # type: ignore[method-assign] # the engine is everybody's
        for tick in ticks:
            asked = [
                asyncio.create_task(inference.picture(work(avatars[name], frame, what)))
                for name, frame, what in tick
            ]
            await asyncio.sleep(0)
            for task, (_, _, what) in zip(asked, tick, strict=True):
                if what == "leaves":
                    task.cancel()
            made = await asyncio.gather(*asked, return_exceptions=True)
            for picture, (name, frame, what) in zip(made, tick, strict=True):
                if what == "speaks":
                    assert isinstance(picture, np.ndarray), picture
                    assert shown(picture) == (name, frame)
                else:
                    assert isinstance(picture, BaseException)

    asyncio.run(run())


def work(one: Avatar, frame: int, what: str) -> Work:
    """A frame; one that is broken brings a window of another shape in the middle of the batch."""
    segment = Segment("voice", PcmFormat(PLAYOUT_RATE_HZ, 1), reported=False)
    window = WINDOW[:, :3] if what == "is broken" else WINDOW
    return Work(one, frame, segment, 0, [window])


def shown(picture: np.ndarray) -> tuple[str, int]:
    """Whose mouth, over which background."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420).astype(int)
    mouth, around = bgr[88, 88], bgr[10, 10].mean()
    name = min(COLOURS, key=lambda one: np.abs(mouth - COLOURS[one]).sum())
    frame = int(np.argmin(np.abs(np.array(GREYS) - around)))
    assert np.abs(mouth - COLOURS[name]).max() < 30
    return name, frame
