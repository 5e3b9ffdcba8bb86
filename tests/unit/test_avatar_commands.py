"""`rapido avatar check` and `show`: what they find and make, and what they say of bad input."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from ops.avatar.cli import avatar as commands
from ops.avatar.packing import write_manifest
from ops.avatar.writing import write_wav
from tests.unit.small_avatar import write_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "anna")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """1.2 s of a tone."""
    at = np.arange(19_200) / 16_000
    write_wav(
        tmp_path / "speech.wav", (0.4 * np.sin(2 * np.pi * 300 * at)).astype(np.float32), 16_000
    )
    return tmp_path / "speech.wav"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(one) for one in arguments])


def _spoil(package: Path, role: str, value: float) -> None:
    """One value of a network, with the digest to match."""
    file = package / f"{role}.safetensors"
    tensors = load_file(file)
    key = sorted(key for key, one in tensors.items() if one.dtype == np.float16)[0]
    tensors[key].flat[0] = value
    save_file(tensors, file)
    manifest = json.loads((package / "manifest.json").read_text())
    boxes = manifest.pop("boxes")
    write_manifest(package, manifest, boxes)


def test_check_tells_what_a_sound_avatar_is(package: Path) -> None:
    done = _run("check", package, "--json")

    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (found["name"], found["size"], found["frames"]) == ("anna", "128 x 128", 2)
    assert found["parameters"]["generator"] > 200_000
    assert found["frame_ms"] > 0


def test_check_takes_the_name_of_one_that_comes_with_the_worker() -> None:
    done = _run("check", "demo", "--json")

    assert json.loads(done.stdout)["licence"] == "Apache-2.0"


@pytest.mark.parametrize("role", ["generator", "audio_encoder"])
def test_check_finds_weights_that_are_no_numbers(package: Path, role: str) -> None:
    _spoil(package, role, float("nan"))

    done = _run("check", package)

    assert done.exit_code == 1
    assert f"{role}.safetensors: " in done.output
    assert "NaN or infinite" in done.output


def test_check_finds_a_changed_file(package: Path) -> None:
    (package / "frames.zip").write_bytes((package / "frames.zip").read_bytes() + b"x")

    done = _run("check", package)

    assert done.exit_code == 1
    assert "frames.zip: damaged or changed" in done.output


def test_check_finds_a_network_that_is_not_as_wide_as_the_manifest_says(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    (package / "manifest.json").write_text(json.dumps({**manifest, "width": 8}))

    done = _run("check", package)

    assert done.exit_code == 1
    assert "generator.safetensors: made with width 4, not 8" in done.output


def test_check_of_nobody_tells_who_is_there() -> None:
    done = _run("check", "nobody")

    assert done.exit_code == 1
    assert "available: demo" in done.output


def test_show_renders_pictures_and_their_sound(package: Path, speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "films" / "preview.mp4"

    done = _run("show", package, "--wav", speech, "--out", out, "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["frames"] == 30
    with av.open(str(out)) as film:
        pictures = [frame.to_ndarray(format="bgr24") for frame in film.decode(video=0)]
    with av.open(str(out)) as film:
        pcm = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
    assert len(pictures) == 30
    assert pictures[0].shape == (128, 128, 3)
    assert len(pcm) / 48_000 == pytest.approx(1.2, abs=0.1)
    assert np.abs(pcm).max() > 0.3


def test_show_renders_the_beginning_of_an_hour_and_says_so(package: Path, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "hour.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(2 * 3600 * 8_000))

    done = _run("show", package, "--wav", tmp_path / "hour.wav", "--out", tmp_path / "p.mp4",
                "--seconds", 1)  # fmt: skip

    assert done.exit_code == 0
    assert "longer than 1 s; the first 1 s are rendered" in done.output.replace("\n", " ")
    assert "rendered 25 of 25 frames" in done.output


@pytest.mark.parametrize("samples", [100, 3_000])
def test_show_renders_the_shortest_speech(package: Path, tmp_path: Path, samples: int) -> None:
    write_wav(tmp_path / "short.wav", np.full(samples, 0.1, np.float32), 16_000)

    done = _run("show", package, "--wav", tmp_path / "short.wav", "--out", tmp_path / "p.mp4")

    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("samples", [0, 1])
def test_show_says_what_is_wrong_with_a_file_of_no_length(
    package: Path, tmp_path: Path, samples: int
) -> None:
    write_wav(tmp_path / "empty.wav", np.zeros(samples, np.float32), 16_000)

    done = _run("show", package, "--wav", tmp_path / "empty.wav", "--out", tmp_path / "p.mp4")

    assert done.exit_code == 1
    assert "empty.wav: there is no sound in it" in done.output
    assert not (tmp_path / "p.mp4").exists()


def test_show_writes_films_only_as_mp4(package: Path, speech: Path, tmp_path: Path) -> None:
    done = _run("show", package, "--wav", speech, "--out", tmp_path / "p.gif")

    assert done.exit_code == 1
    assert "p.gif: the preview is an MP4" in done.output


def test_draw_leaves_what_is_there_alone(tmp_path: Path) -> None:
    done = _run("draw", tmp_path)

    assert done.exit_code == 1
    assert "is there already" in done.output
