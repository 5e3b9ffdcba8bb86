"""The networks have the published shape, and read only honest weights."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpu_node.synctalk import (
    AudioEncoder,
    Generator,
    WeightsError,
    load_audio_encoder,
    load_generator,
)
from gpu_node.synctalk.blocks import InvertedResidual


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_generator_has_the_published_keys_and_parameters() -> None:
    model = Generator()
    assert len(model.state_dict()) == 556
    assert parameters(model) == 12_186_935


def test_audio_encoder_has_the_published_keys_and_parameters() -> None:
    model = AudioEncoder()
    assert len(model.state_dict()) == 91
    assert parameters(model) == 2_812_672


def test_published_generator_maps_image_and_audio_to_a_mouth(tmp_path: Path) -> None:
    path = tmp_path / "100.pth"
    torch.save(Generator().state_dict(), path)
    model = load_generator(path)
    with torch.inference_mode():
        mouth = model(torch.rand(1, 6, 320, 320), torch.rand(1, 32, 16, 16))
    assert mouth.shape == (1, 3, 320, 320)
    assert 0 <= float(mouth.min()) <= float(mouth.max()) <= 1


def test_demo_sized_generator_keeps_its_crop() -> None:
    model = Generator(crop=160, width=16).eval()
    with torch.inference_mode():
        mouth = model(torch.rand(2, 6, 160, 160), torch.rand(2, 32, 16, 16))
    assert mouth.shape == (2, 3, 160, 160)


def test_audio_encoder_loads_with_and_without_the_usual_prefix(tmp_path: Path) -> None:
    state = AudioEncoder().state_dict()
    plain, prefixed = tmp_path / "plain.pth", tmp_path / "prefixed.safetensors"
    torch.save(state, plain)
    save_file({f"audio_encoder.{key}": value for key, value in state.items()}, prefixed)
    mels = torch.rand(3, 1, 80, 16)
    with torch.inference_mode():
        one, two = load_audio_encoder(plain)(mels), load_audio_encoder(prefixed)(mels)
    assert one.shape == (3, 512)
    assert torch.equal(one, two)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (ran,)

    path = tmp_path / "1.pth"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match="never run"):
        load_generator(path)
    assert not ran.exists()


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "1.pth"
    torch.save(Generator(160, 16).state_dict(), path)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match=r"1\.pth"):
        load_generator(path)


def test_truncated_safetensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(Generator(160, 16).state_dict(), path)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match="damaged"):
        load_generator(path, crop=160, width=16)


def test_another_width_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "1.pth"
    torch.save(Generator(160, 16).state_dict(), path)
    with pytest.raises(WeightsError, match="crop and width"):
        load_generator(path, crop=160, width=32)


def test_another_width_is_told_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "1.pth"
    torch.save(Generator(160, 16).state_dict(), path)
    with pytest.raises(WeightsError, match=r"inc\.inconv.*\(16, .*, not \(32, .*width 16"):
        load_generator(path)
    torch.save(AudioEncoder(16).state_dict(), path)
    with pytest.raises(WeightsError, match=r"0\.conv_block\.0\.weight.*width 16"):
        load_audio_encoder(path)


def test_a_checkpoint_of_another_mode_is_told_by_its_audio_branch(tmp_path: Path) -> None:
    model = Generator()
    model.audio_model.conv1 = InvertedResidual(256, 256, residual=True)
    model.audio_model.conv2 = InvertedResidual(256, 256, residual=True)
    model.audio_model.conv3 = torch.nn.Conv2d(256, 256, 3, (1, 2), 1)
    path = tmp_path / "wenet.pth"
    torch.save(model.state_dict(), path)
    wanted = r"audio_model\.conv1\.conv\.0\.weight: \(512, 256, 1, 1\), not \(64, 32, 1, 1\)"
    with pytest.raises(WeightsError, match=wanted + r".*mode ave"):
        load_generator(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["up3.conv.double_conv.0.conv.4.running_var", "outc.conv.bias"])
def test_weights_that_are_no_numbers_are_refused_by_name(
    tmp_path: Path, key: str, bad: float
) -> None:
    state = Generator(96, 2).state_dict()
    state[key][0] = bad
    path = tmp_path / "1.safetensors"
    save_file(state, path)
    with pytest.raises(WeightsError, match=rf"1\.safetensors: {key} holds NaN or infinite"):
        load_generator(path, crop=96, width=2)


def test_an_audio_encoder_that_is_no_numbers_is_refused_by_name(tmp_path: Path) -> None:
    state = AudioEncoder(2).state_dict()
    state["4.conv_block.0.bias"][1] = float("nan")
    path = tmp_path / "ear.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"4\.conv_block\.0\.bias holds NaN"):
        load_audio_encoder(path, width=2)


def test_missing_keys_are_counted(tmp_path: Path) -> None:
    state = Generator(160, 16).state_dict()
    del state["outc.conv.bias"]
    path = tmp_path / "1.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"1 keys are missing \(outc\.conv\.bias\)"):
        load_generator(path, crop=160, width=16)


def test_missing_file_says_what_to_name() -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_generator("nowhere.pth")
