"""The engines: one port, and the pictures that the published networks make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gpu_node.avatars.package import Avatar, AvatarError
from gpu_node.avatars.scaling import scaled
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, EngineError, FrameJob, make_engine
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.engine.torch_engine import TorchEngine
from tests.unit.tiny_avatars import avatar, lively, plain_features, plain_picture, speech

_LEAST_PSNR_DB = 40.0
_MOST_LEVELS = 2

# of the frames that have boxes here, the first two are kept: both of an engine's ways are run
_ENGINES: dict[str, Callable[[], Engine]] = {
    "onnx": lambda: OnnxEngine(2, cache_mib=0.25, exact=True),
    "torch": lambda: TorchEngine("cpu", cache_bytes=4 * 28_224 * 4),
}
_BOXES = {
    "the crop itself": (0, [(20, 30, 96, 96), (22, 34, 96, 96), (96, 64, 96, 96)]),
    "with a border": (4, [(20, 30, 104, 104), (22, 34, 104, 104), (88, 56, 104, 104)]),
    "larger and smaller": (0, [(20, 30, 64, 64), (22, 2, 150, 150), (0, 0, 110, 110)]),
    "not square, with a border": (8, [(20, 30, 64, 90), (22, 2, 150, 120), (0, 0, 112, 112)]),
}


@pytest.fixture(scope="module")
def avatars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Avatar]:
    """Three frames each, every avatar with a network of its own."""
    return {
        name: avatar(
            tmp_path_factory.mktemp("avatar"), lively(seed=at), boxes, name=name, border=border
        )
        for at, (name, (border, boxes)) in enumerate(_BOXES.items())
    } | {
        "made smaller": scaled(
            avatar(
                tmp_path_factory.mktemp("avatar"), lively(), _BOXES["larger and smaller"][1],
                name="large",
            ),
            120,
        )
    }  # fmt: skip


@pytest.fixture(scope="module", params=list(_ENGINES))
def engine(request: pytest.FixtureRequest, avatars: dict[str, Avatar]) -> Engine:
    made = _ENGINES[request.param]()
    for one in avatars.values():
        made.prepare(one, Compositor(one))
    return made


def assert_same(made: np.ndarray, wanted: np.ndarray) -> None:
    """40 dB, and no pixel off by more than two levels."""
    assert made.shape == wanted.shape
    assert made.dtype == wanted.dtype == np.uint8
    error = made.astype(int) - wanted.astype(int)
    assert np.abs(error).max() <= _MOST_LEVELS
    assert 10 * np.log10(255**2 / max(1e-9, float((error**2).mean()))) >= _LEAST_PSNR_DB


def test_an_engine_hears_what_the_published_encoder_hears(
    engine: Engine, avatars: dict[str, Avatar]
) -> None:
    one = avatars["the crop itself"]
    random = np.random.default_rng(2)
    windows = [random.normal(size=(80, 16)).astype(np.float32) for _ in range(5)]

    features = engine.encode(one, windows)

    assert [feature.shape for feature in features] == [(512,)] * 5
    np.testing.assert_allclose(np.stack(features), plain_features(one, windows), atol=1e-4)
    assert engine.encode(one, []) == []


@pytest.mark.parametrize("name", [*_BOXES, "made smaller"])
def test_an_engine_paints_what_the_published_network_paints(
    engine: Engine, avatars: dict[str, Avatar], name: str
) -> None:
    one = avatars[name]
    jobs = [FrameJob(one, frame, speech(at)) for at, frame in enumerate((2, 0, 1, 2, 2))]

    pictures = engine.render(jobs)

    assert len(pictures) == len(jobs)
    for job, picture in zip(jobs, pictures, strict=True):
        assert picture.shape == (one.size[1] * 3 // 2, one.size[0])
        assert_same(picture, plain_picture(job))
    assert (pictures[3] != pictures[4]).any()  # the same frame, other speech


def test_a_call_may_mix_avatars_in_any_order(engine: Engine, avatars: dict[str, Avatar]) -> None:
    turns = [*avatars.values(), *reversed(avatars.values()), *avatars.values()]
    jobs = [FrameJob(one, at % 3, speech(at)) for at, one in enumerate(turns)]

    pictures = engine.render(jobs)

    for job, picture in zip(jobs, pictures, strict=True):
        assert_same(picture, plain_picture(job))


def test_a_call_may_ask_for_more_than_the_largest_batch(
    engine: Engine, avatars: dict[str, Avatar]
) -> None:
    one = avatars["with a border"]
    jobs = [FrameJob(one, at % 3, speech(at % 7)) for at in range(45)]

    pictures = engine.render(jobs)

    for at in (0, 20, 31, 32, 40, 44):
        assert_same(pictures[at], plain_picture(jobs[at]))
    for at in range(21, 45):  # frames and speech come again every 21
        assert (pictures[at] == pictures[at - 21]).all()
    windows = [np.full((80, 16), at, np.float32) for at in range(45)]
    heard = engine.encode(one, windows)
    np.testing.assert_allclose(np.stack(heard), plain_features(one, windows), rtol=1e-3, atol=1e-3)


def test_pictures_stay_as_they_are_while_others_are_made(
    engine: Engine, avatars: dict[str, Avatar]
) -> None:
    one = avatars["the crop itself"]
    held = engine.render([FrameJob(one, 0, speech(1)), FrameJob(one, 2, speech(2))])
    before = [picture.copy() for picture in held]

    for at in range(6):
        engine.render([FrameJob(one, at % 3, speech(at + 9))] * (at + 1))

    for picture, copy in zip(held, before, strict=True):
        np.testing.assert_array_equal(picture, copy)


def test_no_jobs_make_no_pictures(engine: Engine) -> None:
    assert engine.render([]) == []


@pytest.mark.parametrize("make", _ENGINES.values(), ids=list(_ENGINES))
def test_a_forgotten_avatar_can_be_prepared_again(
    make: Callable[[], Engine], avatars: dict[str, Avatar]
) -> None:
    one = avatars["the crop itself"]
    engine = make()
    engine.prepare(one, Compositor(one))
    job = FrameJob(one, 2, speech(5))
    first = engine.render([job])[0]

    engine.forget(one)
    with pytest.raises(KeyError):
        engine.render([job])
    engine.prepare(one, Compositor(one))

    np.testing.assert_array_equal(engine.render([job])[0], first)
    engine.close()


@pytest.mark.parametrize("make", _ENGINES.values(), ids=list(_ENGINES))
def test_weights_of_another_network_are_refused(
    make: Callable[[], Engine], avatars: dict[str, Avatar]
) -> None:
    one = avatars["the crop itself"]
    files = {
        "generator": {"path": "audio_encoder.safetensors"},
        "audio_encoder": {"path": "generator.safetensors"},
    }
    swapped = replace(one, manifest={**one.manifest, "files": files})

    with pytest.raises(AvatarError, match=r"audio_encoder\.safetensors.*missing"):
        make().prepare(swapped, Compositor(swapped))


@pytest.mark.parametrize("make", _ENGINES.values(), ids=list(_ENGINES))
def test_weights_of_another_width_are_refused(
    make: Callable[[], Engine], avatars: dict[str, Avatar]
) -> None:
    wider = replace(avatars["the crop itself"], width=32)

    with pytest.raises(AvatarError, match=r"generator\.safetensors"):
        make().prepare(wider, Compositor(wider))


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
