"""Which encoder is chosen, and avatars that are streamed smaller than they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gpu_node import logs
from gpu_node import worker as worker_module
from gpu_node.__main__ import main
from gpu_node.avatars.package import Avatar
from gpu_node.avatars.scaling import scaled
from gpu_node.compositor import Compositor
from gpu_node.settings import Codec, SettingsError, from_environment
from gpu_node.video import choose
from tests.unit.test_worker_settings import GOOD

L4: frozenset[Codec] = frozenset(("h264", "av1"))
T4: frozenset[Codec] = frozenset(("h264",))
NONE: frozenset[Codec] = frozenset()


def asked(codec: str, encoder: str, device: str = "auto") -> dict[str, str]:
    return {
        **GOOD,
        "RAPIDO_VIDEO_CODEC": codec,
        "RAPIDO_VIDEO_ENCODER": encoder,
        "RAPIDO_DEVICE": device,
    }


@pytest.mark.parametrize(
    ("codec", "encoder", "device", "gpu", "chosen"),
    [
        ("auto", "auto", "auto", L4, ("h264", "nvenc")),
        ("auto", "auto", "auto", NONE, ("vp8", "software")),
        ("auto", "auto", "cpu", L4, ("vp8", "software")),
        ("auto", "software", "auto", L4, ("vp8", "software")),
        ("auto", "nvenc", "auto", T4, ("h264", "nvenc")),
        ("av1", "auto", "auto", L4, ("av1", "nvenc")),
        ("av1", "auto", "auto", T4, ("av1", "software")),
        ("vp9", "auto", "cuda", L4, ("vp9", "software")),
        ("h264", "auto", "auto", NONE, ("h264", "software")),
        ("h264", "software", "cuda", L4, ("h264", "software")),
    ],
)
def test_the_gpu_encodes_where_it_can_and_else_the_host(
    codec: str, encoder: str, device: str, gpu: frozenset[Codec], chosen: tuple[str, str]
) -> None:
    video, why = choose(from_environment(asked(codec, encoder, device)), gpu)

    assert (video.codec, video.encoder) == chosen
    assert video.bitrate_bps == 800_000
    assert why


@pytest.mark.parametrize(
    ("codec", "gpu", "fault"),
    [("auto", NONE, "no video, not h264"), ("av1", T4, "h264, not av1")],
)
def test_an_encoder_that_the_gpu_lacks_is_refused(
    codec: str, gpu: frozenset[Codec], fault: str
) -> None:
    settings = from_environment(asked(codec, "nvenc"))

    with pytest.raises(SettingsError, match=rf"^RAPIDO_VIDEO_ENCODER .*encodes {fault}; choose"):
        choose(settings, gpu)


def test_a_worker_that_is_refused_its_encoder_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in asked("auto", "nvenc").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(worker_module.gpu, "find", lambda: None)
    monkeypatch.setattr(logs, "set_up", lambda: None)

    assert main() == 2
    told = capsys.readouterr().err
    assert told.startswith("RAPIDO_VIDEO_ENCODER is 'nvenc'")
    assert told.count("\n") == 1


def face(size: tuple[int, int], boxes: list[tuple[int, int, int, int]], crop: int) -> Avatar:
    """Smooth everywhere and flat nowhere, so that what is a pixel off is seen."""
    random = np.random.default_rng(5)
    frames = []
    for _ in boxes:
        noise = random.normal(size=(size[1], size[0], 3))
        smooth = cv2.GaussianBlur(noise, (0, 0), 12.0)
        frames.append(128 + 90 * smooth / np.abs(smooth).max())
    pictures = np.stack(frames).astype(np.uint8)
    return Avatar("x", Path(), 25, size, crop, 16, {}, pictures, np.array(boxes, np.int32))


BOXES = [(150, 206, 160, 160), (152, 210, 162, 162), (98, 302, 202, 202), (158, 208, 166, 166)]


@pytest.mark.parametrize("border", [0, 4])
@pytest.mark.parametrize(
    ("size", "longest", "smaller"),
    [((512, 512), 256, (256, 256)), ((512, 640), 300, (240, 300)), ((512, 512), 301, (300, 300))],
)
def test_a_mouth_that_shows_what_was_seen_changes_nothing(
    size: tuple[int, int], longest: int, smaller: tuple[int, int], border: int
) -> None:
    large = replace(face(size, BOXES, 160), border=border)

    small = scaled(large, longest)

    assert small.size == smaller
    assert small.frames.shape == (len(BOXES), smaller[1], smaller[0], 3)
    assert not (small.boxes % 2).any()
    compositor = Compositor(small)
    for frame in range(len(BOXES)):
        still = compositor.compose(frame, None).astype(int)
        spoken = compositor.compose(frame, small.cut(frame)).astype(int)
        assert still.shape == (smaller[1] * 3 // 2, smaller[0])
        assert np.abs(spoken - still).max() <= 3


def test_the_mouth_of_a_smaller_picture_is_where_it_was() -> None:
    large = face((512, 512), BOXES, 160)
    mouth = np.full((160, 160, 3), 255, np.uint8)

    def lit(one: Avatar, frame: int) -> np.ndarray:
        """The edges of what is white, x0, y0, x1, y1, in shares of the picture."""
        width, height = one.size
        luma = Compositor(one).compose(frame, mouth)[:height]
        ys, xs = np.nonzero(luma > 230)
        return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / width

    for frame in range(len(BOXES)):
        box = large.boxes[frame] / 512
        x0, y0, x1, y1 = lit(scaled(large, 256), frame)
        # the seam is 10 px wide
        assert box[0] < x0 < box[0] + 16 / 256
        assert box[1] < y0 < box[1] + 16 / 256
        assert box[0] + box[2] - 16 / 256 < x1 < box[0] + box[2]
        assert box[1] + box[3] - 16 / 256 < y1 < box[1] + box[3]


def test_an_avatar_is_never_enlarged_and_keeps_a_mouth_of_some_size() -> None:
    avatar = face((512, 512), BOXES, 160)

    assert scaled(avatar, 512) is avatar
    assert scaled(avatar, 4096) is avatar
    assert int(scaled(avatar, 64).boxes[:, 2:].min()) >= 30
