"""Avatar packages: what is missing, damaged or dangerous is refused, and the message helps."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from gpu_node.avatars import AvatarError, available, load_avatar
from ops.avatar.packing import WEBP, new_package, write_frames, write_manifest

_FIELDS: dict[str, Any] = {
    "name": "tiny",
    "licence": "Apache-2.0",
    "fps": 25,
    "size": [128, 96],
    "frames": 2,
    "crop": 96,
    "width": 8,
    "audio_width": 8,
    "trained": {},
    "held_out": {},
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package that loads."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for role in ("generator", "audio_encoder"):
        save_file({"weight": np.ones((2, 3), np.float16)}, folder / f"{role}.safetensors")
    write_frames(folder, np.full((2, 96, 128, 3), 90, np.uint8))
    write_manifest(folder, _FIELDS, [(0, 0, 96, 96), (2, 0, 96, 96)])
    return folder


def _edit(package: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    change(manifest)
    (package / "manifest.json").write_text(json.dumps(manifest))


def _replace(package: Path, role: str, data: bytes) -> None:
    """Another file with the digest to match, as a careless or hostile packer would."""
    name = json.loads((package / "manifest.json").read_text())["files"][role]["path"]
    (package / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    _edit(package, lambda manifest: manifest["files"][role].update(sha256=digest))


def test_a_whole_package_loads_by_name_and_by_folder(package: Path) -> None:
    by_name = load_avatar("tiny", package.parent)
    by_folder = load_avatar(package)

    assert available(package.parent) == ["tiny"]
    for avatar in (by_name, by_folder):
        assert avatar.frames.shape == (2, 96, 128, 3)
        assert avatar.boxes.tolist() == [[0, 0, 96, 96], [2, 0, 96, 96]]
        assert avatar.generator_path.is_file()


def test_an_avatar_that_does_not_exist_tells_which_do(package: Path) -> None:
    with pytest.raises(AvatarError, match=r"'nobody'.*available: tiny"):
        load_avatar("nobody", package.parent)


@pytest.mark.parametrize("name", ["..", "../tiny", "/etc", "A b", "x" * 10_000])
def test_a_name_cannot_lead_out_of_the_shelf(package: Path, name: str) -> None:
    with pytest.raises(AvatarError) as caught:
        load_avatar(name, package.parent / "shelf")

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("role", ["generator", "audio_encoder", "frames"])
def test_a_missing_file_is_named(package: Path, role: str) -> None:
    next(package.glob(f"{role}.*")).unlink()

    with pytest.raises(AvatarError, match=f"{role} file is missing; install"):
        load_avatar(package)


@pytest.mark.parametrize("role", ["generator", "audio_encoder", "frames"])
def test_a_changed_byte_is_noticed(package: Path, role: str) -> None:
    file = next(package.glob(f"{role}.*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    with pytest.raises(AvatarError, match=r"damaged or changed.*install"):
        load_avatar(package)


def test_weights_cut_short_are_refused_even_with_the_right_digest(package: Path) -> None:
    _replace(package, "generator", (package / "generator.safetensors").read_bytes()[:40])

    with pytest.raises(AvatarError, match="not a safetensors file"):
        load_avatar(package)


class _Bomb:
    exploded = False

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return setattr, (_Bomb, "exploded", True)


def test_pickled_weights_are_refused_by_their_name(package: Path) -> None:
    (package / "generator.pth").write_bytes(pickle.dumps(_Bomb()))
    _edit(package, lambda manifest: manifest["files"]["generator"].update(path="generator.pth"))

    with pytest.raises(AvatarError, match=r"pickled; convert them to \.safetensors"):
        load_avatar(package)

    assert not _Bomb.exploded


def test_a_pickle_with_another_name_is_never_run(package: Path) -> None:
    _replace(package, "generator", pickle.dumps(_Bomb()))

    with pytest.raises(AvatarError, match="not a safetensors file"):
        load_avatar(package)

    assert not _Bomb.exploded


@pytest.mark.parametrize("path", ["../tiny/generator.safetensors", "/etc/passwd"])
def test_a_path_that_leaves_the_folder_is_refused(package: Path, path: str) -> None:
    _edit(package, lambda manifest: manifest["files"]["generator"].update(path=path))

    with pytest.raises(AvatarError, match=r"files\.generator\.path leaves the avatar's folder"):
        load_avatar(package)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: m.pop("licence"), "licence is missing"),
        (lambda m: m.update(fps="25"), "fps has the wrong type"),
        (lambda m: m.update(size=[127, 96]), "size .* is not"),
        (lambda m: m.update(crop=100), "crop 100"),
        (lambda m: m.update(frames=3), "2 frames, not 3"),
        (lambda m: m.update(width=999), "width 999"),
        (lambda m: m["files"].pop("frames"), r"files\.frames needs"),
        (lambda m: m.update(boxes=[[0, 0, 96, 96]]), "for each of 2 frames"),
        (lambda m: m.update(boxes=[[0, 0, 96, 96], [64, 0, 96, 96]]), "outside the picture"),
        (lambda m: m.update(boxes=[[0, 0, 96, 96], [1, 0, 96, 96]]), "odd"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(
    package: Path, change: Callable[[dict[str, Any]], object], fault: str
) -> None:
    _edit(package, change)

    with pytest.raises(AvatarError, match=fault):
        load_avatar(package)


def test_a_manifest_that_is_no_json_is_refused(package: Path) -> None:
    (package / "manifest.json").write_bytes(b"\x80\x04 not json")

    with pytest.raises(AvatarError, match="not readable JSON"):
        load_avatar(package)


def test_frames_that_are_no_pictures_are_refused(package: Path) -> None:
    _, jpeg = cv2.imencode(".jpg", np.zeros((10, 10, 3), np.uint8))
    _replace(package, "frames", jpeg.tobytes())

    with pytest.raises(AvatarError, match="not a zip of pictures"):
        load_avatar(package)


def test_frames_as_webp_are_smaller_and_load_as_well(package: Path) -> None:
    before = (package / "frames.zip").stat().st_size
    write_frames(package, np.full((2, 96, 128, 3), 90, np.uint8), WEBP)
    write_manifest(package, _FIELDS, [(0, 0, 96, 96), (2, 0, 96, 96)])

    assert np.abs(load_avatar(package).frames.astype(int) - 90).max() <= 1
    assert (package / "frames.zip").stat().st_size < before


def test_a_new_package_takes_the_place_of_the_old_one_at_once(package: Path) -> None:
    with new_package(package) as fresh:
        write_frames(fresh, np.full((1, 96, 128, 3), 90, np.uint8))
        (fresh / "manifest.json").write_text("{}")
        assert load_avatar(package).name == "tiny"

    assert sorted(file.name for file in package.iterdir()) == ["frames.zip", "manifest.json"]
    assert [path.name for path in package.parent.iterdir()] == ["tiny"]


def test_a_package_that_fails_half_way_leaves_the_old_one(package: Path) -> None:
    def fail() -> None:
        with new_package(package) as fresh:
            (fresh / "manifest.json").write_text("{}")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        fail()

    assert load_avatar(package).name == "tiny"
    assert [path.name for path in package.parent.iterdir()] == ["tiny"]
