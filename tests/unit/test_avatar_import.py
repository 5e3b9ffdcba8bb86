"""Published SyncTalk 2D weights and datasets become avatars; what does not fit is named."""

from __future__ import annotations

import builtins
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gpu_node.avatars import AvatarError, load_avatar
from gpu_node.engine import make_engine
from gpu_node.engine.onnx_cpu import OnnxEngine
from gpu_node.synctalk import AudioEncoder, Generator
from ops.avatar.cli import avatar as commands
from ops.avatar.dataset import DatasetError
from ops.avatar.importing import Wanted, import_avatar, name_of
from ops.avatar.inspection import inspect
from ops.avatar.published import hearing_distance, newest_checkpoint
from ops.avatar.writing import write_landmarks, write_picture, write_wav

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than they gain where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def states() -> tuple[State, State]:
    """A generator and an encoder of the published size, that learned nothing."""
    torch.manual_seed(1)
    return Generator().state_dict(), AudioEncoder().state_dict()


@pytest.fixture
def wanted(tmp_path: Path, states: tuple[State, State]) -> Wanted:
    """A checkpoint folder, an encoder beside the dataset, a dataset of four full frames."""
    torch.manual_seed(1)
    dataset, checkpoints = tmp_path / "dataset" / "anna", tmp_path / "checkpoint" / "anna"
    for folder in (dataset / "full_body_img", dataset / "landmarks", checkpoints):
        folder.mkdir(parents=True)
    points = np.full((110, 2), 200.0)
    points[1], points[31], points[52] = (160, 120), (420, 120), (290, 130)
    random = np.random.default_rng(1)
    for at in range(4):
        picture = random.integers(0, 255, (480, 640, 3), np.uint8)
        write_picture(dataset / "full_body_img" / f"{at}.jpg", picture)
        write_landmarks(dataset / "landmarks" / f"{at}.lms", points)
    torch.save(states[0], checkpoints / "9.pth")
    torch.save(states[1], dataset.parent / "audio_visual_encoder.pth")
    return Wanted(checkpoints, dataset, "anna", frames=2)


def _import(wanted: Wanted, tmp_path: Path) -> Path:
    target = tmp_path / "avatars" / "anna"
    import_avatar(wanted, target, lambda _line: None)
    return target


def _save(wanted: Wanted, state: object) -> None:
    torch.save(state, wanted.checkpoint / "9.pth")


def test_a_published_avatar_is_imported_at_another_height_and_fit_to_be_served(
    wanted: Wanted, tmp_path: Path
) -> None:
    folder = _import(replace(wanted, height_px=240), tmp_path)

    found = inspect(str(folder), make_engine("cpu"))
    avatar = load_avatar(folder)
    assert (avatar.crop, avatar.width, avatar.border) == (320, 32, 4)
    assert avatar.size == (320, 240)
    assert avatar.boxes.tolist() == [[80, 64, 130, 130]] * 2
    assert avatar.manifest["trained"]["checkpoint"] == "9.pth"
    assert found["parameters"]["generator"] > 12_000_000
    assert sorted(file.suffix for file in folder.iterdir()) == [
        ".json", ".safetensors", ".safetensors", ".zip",
    ]  # fmt: skip


def test_a_folder_with_something_else_in_it_is_left_alone(wanted: Wanted, tmp_path: Path) -> None:
    (tmp_path / "avatars" / "anna").mkdir(parents=True)
    thesis = tmp_path / "avatars" / "anna" / "thesis.txt"
    thesis.write_text("years of work")

    with pytest.raises(AvatarError, match="something else than an avatar; name another folder"):
        _import(wanted, tmp_path)

    assert thesis.read_text() == "years of work"


def test_a_dataset_that_fails_leaves_no_half_package(wanted: Wanted, tmp_path: Path) -> None:
    (wanted.dataset / "full_body_img" / "1.jpg").write_text("hello")

    with pytest.raises(DatasetError, match=r"1\.jpg"):
        _import(wanted, tmp_path)

    assert not (tmp_path / "avatars" / "anna").exists()


def test_the_highest_number_wins(tmp_path: Path) -> None:
    for name in ("9.pth", "10.pth", "best.pth"):
        (tmp_path / name).write_bytes(b"")

    assert newest_checkpoint(tmp_path).name == "10.pth"


def test_a_folder_without_checkpoints_says_what_to_name(wanted: Wanted, tmp_path: Path) -> None:
    (wanted.checkpoint / "9.pth").unlink()

    with pytest.raises(AvatarError, match=r"checkpoint/anna: no checkpoint in it"):
        _import(wanted, tmp_path)


def test_no_other_encoder_stands_in_for_a_missing_one(wanted: Wanted, tmp_path: Path) -> None:
    (wanted.dataset.parent / "audio_visual_encoder.pth").unlink()

    with pytest.raises(AvatarError, match=r"audio_visual_encoder\.pth: not found.*--audio-encoder"):
        _import(wanted, tmp_path)


def test_a_network_for_wenet_features_is_told_apart(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State]
) -> None:
    key = "audio_model.conv1.conv.0.weight"
    _save(wanted, {**states[0], key: torch.zeros(512, 256, 1, 1)})

    with pytest.raises(AvatarError, match=r"9\.pth: trained for wenet features \(256 channels"):
        _import(wanted, tmp_path)


def test_a_network_of_the_160_px_crop_is_told_apart(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State]
) -> None:
    _save(wanted, {k: v for k, v in states[0].items() if not k.startswith(("down5.", "up5."))})

    with pytest.raises(AvatarError, match=r"9\.pth: trained at another crop.*crop 328"):
        _import(wanted, tmp_path)


def test_a_network_of_another_width_is_told_apart(wanted: Wanted, tmp_path: Path) -> None:
    _save(wanted, Generator(320, 16).state_dict())

    with pytest.raises(AvatarError, match=r"9\.pth: \d+ tensors have another shape"):
        _import(wanted, tmp_path)


def test_weights_of_something_else_say_what_to_name(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State]
) -> None:
    _save(wanted, states[1])

    with pytest.raises(AvatarError, match=r"9\.pth: not a generator's weights.*name the"):
        _import(wanted, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State], value: float
) -> None:
    spoilt = states[0]["outc.conv.weight"].clone()
    spoilt[0, 0] = value
    _save(wanted, {**states[0], "outc.conv.weight": spoilt})

    with pytest.raises(AvatarError, match=r"9\.pth: outc\.conv\.weight has 1 of 48.*NaN"):
        _import(wanted, tmp_path)


def test_an_encoder_that_is_no_number_is_refused(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State]
) -> None:
    spoilt = torch.full_like(states[1]["0.conv_block.0.bias"], float("nan"))
    file = wanted.dataset.parent / "audio_visual_encoder.pth"
    torch.save({**states[1], "0.conv_block.0.bias": spoilt}, file)

    with pytest.raises(AvatarError, match=r"audio_visual_encoder\.pth: .* 32 of 32 .*NaN"):
        _import(wanted, tmp_path)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    wanted: Wanted, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (ran,)

    (wanted.checkpoint / "9.pth").write_bytes(pickle.dumps(Payload()))

    with pytest.raises(AvatarError, match=r"9\.pth: .*holds code, which is never run"):
        _import(wanted, tmp_path)

    assert not ran.exists()


def test_values_too_large_for_half_precision_keep_their_own(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State]
) -> None:
    key = "inc.inconv.0.conv.1.running_var"
    _save(wanted, {**states[0], key: torch.full_like(states[0][key], 1e6)})

    found = inspect(str(_import(wanted, tmp_path)), OnnxEngine(exact=True))

    assert found["parameters"]["generator"] > 12_000_000


def test_a_network_that_hears_through_its_own_encoder_is_near_and_another_one_far() -> None:
    torch.manual_seed(2)
    own, other = torch.randn(8, 32, 16, 16), 3 + 2 * torch.randn(8, 32, 16, 16)
    generator = Generator(96, 4).train()
    with torch.no_grad():
        for _ in range(60):
            generator.audio_model.conv1(own)

    assert hearing_distance(generator.eval(), own) < 0.1
    assert hearing_distance(generator, other) > 1.0


def test_with_sound_it_says_when_the_networks_do_not_belong_together(
    wanted: Wanted, tmp_path: Path, states: tuple[State, State]
) -> None:
    key = "audio_model.conv1.conv.1.running_mean"
    _save(wanted, {**states[0], key: torch.full_like(states[0][key], 9.0)})
    write_wav(wanted.dataset / "aud.wav", np.zeros(8_000, np.float32), 16_000)
    lines: list[str] = []

    manifest = import_avatar(wanted, tmp_path / "avatars" / "anna", lines.append)

    assert manifest["trained"]["hearing_distance"] > 1
    assert any("WARNING" in line and "hubert" in line for line in lines)


def test_names_are_made_of_any_text() -> None:
    assert name_of("Frau Dr. Müller!") == "frau-dr-m-ller"
    assert name_of("???") == "avatar"


def test_the_command_prints_what_it_made_as_json(wanted: Wanted, tmp_path: Path) -> None:
    out = tmp_path / "avatars" / "anna"
    arguments = ["import", "--checkpoint", str(wanted.checkpoint), "--dataset",
                 str(wanted.dataset), "--out", str(out), "--frames", "2", "--json"]  # fmt: skip

    done = CliRunner().invoke(commands, arguments)

    assert done.exit_code == 0
    made = json.loads(done.stdout)
    assert made["name"] == "anna"
    assert made["folder"] == str(out)


def test_the_commands_fault_is_one_line(wanted: Wanted, tmp_path: Path) -> None:
    (wanted.dataset / "landmarks" / "0.lms").unlink()
    arguments = ["import", "--checkpoint", str(wanted.checkpoint), "--dataset",
                 str(wanted.dataset), "--out", str(tmp_path / "x"), "--frames", "2"]  # fmt: skip

    done = CliRunner().invoke(commands, arguments)

    assert done.exit_code == 1
    assert "0.lms: missing" in done.output.splitlines()[-1]


def test_without_torch_the_command_says_what_to_install(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [n for n in sys.modules if n.startswith("ops.avatar.import")]:
        monkeypatch.delitem(sys.modules, name)
    imported = builtins.__import__

    def without_torch(name: str, *args: Any, **more: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return imported(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_torch)

    done = CliRunner().invoke(
        commands, ["import", "--checkpoint", str(wanted.checkpoint), "--dataset",
                   str(wanted.dataset)],
    )  # fmt: skip

    assert done.exit_code == 1
    assert "torch is not installed" in done.output
    assert "rapido[training]" in done.output
