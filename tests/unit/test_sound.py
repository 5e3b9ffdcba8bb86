"""Sound files of every usual kind, for `rapido say` and `rapido avatar show`."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from ops.sound import SoundError, read_sound, read_speech

_TONE_HZ = 440.0


def _tone(seconds: float, rate_hz: int, level: float = 0.5) -> np.ndarray:
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return level * np.sin(2 * np.pi * _TONE_HZ * at)


def _wav(file: Path, samples: np.ndarray, rate_hz: int, *, depth: int = 16) -> Path:
    """Integer PCM of one or more columns."""
    whole = np.round(np.clip(samples, -1, 1) * (2 ** (depth - 1) - 1)).astype("<i4")
    columns = whole[:, None] if whole.ndim == 1 else whole
    raw = np.ascontiguousarray(columns).view(np.uint8).reshape(*columns.shape, 4)
    if depth == 8:
        raw = (columns + 128).astype(np.uint8)[..., None]
    with wave.open(str(file), "wb") as out:
        out.setnchannels(raw.shape[1])
        out.setsampwidth(depth // 8)
        out.setframerate(rate_hz)
        out.writeframes(np.ascontiguousarray(raw[..., : depth // 8]).tobytes())
    return file


def _float_wav(file: Path, samples: np.ndarray, rate_hz: int) -> Path:
    with av.open(str(file), "w", format="wav") as out:
        stream = out.add_stream("pcm_f32le", rate=rate_hz)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            samples.astype(np.float32)[None], format="flt", layout="mono"
        )
        frame.sample_rate = rate_hz
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file


@pytest.mark.parametrize("depth", [8, 16, 24, 32])
def test_every_depth_reads_alike(tmp_path: Path, depth: int) -> None:
    tone = _tone(0.5, 16_000)

    sound = read_sound(_wav(tmp_path / "tone.wav", tone, 16_000, depth=depth))

    assert sound.rate_hz == 16_000
    np.testing.assert_allclose(sound.pcm, tone, atol=0.01)


def test_float_samples_are_read_and_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    tone = _tone(0.5, 48_000, level=1.7)

    sound = read_sound(_float_wav(tmp_path / "loud.wav", tone, 48_000))

    np.testing.assert_allclose(sound.pcm, np.clip(tone, -1, 1), atol=1e-4)


def test_a_clipped_recording_is_read_as_it_is(tmp_path: Path) -> None:
    square = np.sign(_tone(0.5, 16_000) + 1e-9)

    sound = read_sound(_wav(tmp_path / "clipped.wav", square, 16_000))

    assert np.abs(sound.pcm).max() <= 1.0
    np.testing.assert_allclose(sound.pcm, square, atol=0.01)


def test_both_sides_of_a_stereo_file_are_heard(tmp_path: Path) -> None:
    tone = _tone(0.5, 16_000)
    sides = np.stack([tone, np.zeros_like(tone)], axis=1)

    sound = read_sound(_wav(tmp_path / "stereo.wav", sides, 16_000))

    assert sound.pcm.shape == tone.shape
    np.testing.assert_allclose(sound.pcm, tone / 2, atol=0.01)


def test_telephone_speech_is_brought_to_another_rate(tmp_path: Path) -> None:
    file = _wav(tmp_path / "phone.wav", _tone(1.0, 8_000), 8_000)

    sound = read_sound(file, 16_000)

    assert sound.duration_s == pytest.approx(1.0, abs=0.01)
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(sound.pcm[middle], _tone(1.0, 16_000)[middle], atol=0.02)


def test_a_file_of_no_length_is_a_clear_error(tmp_path: Path) -> None:
    file = _wav(tmp_path / "empty.wav", np.zeros(0), 16_000)

    with pytest.raises(SoundError, match=r"empty\.wav: there is no sound in it.*record it again"):
        read_sound(file)


def test_a_text_is_no_sound(tmp_path: Path) -> None:
    file = tmp_path / "words.wav"
    file.write_text("hello")

    with pytest.raises(SoundError, match=r"words\.wav: not a sound file.*export it as WAV"):
        read_sound(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SoundError, match=r"nowhere\.wav"):
        read_sound(tmp_path / "nowhere.wav")


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tone = _tone(0.5, 16_000)
    tone[100] = np.nan

    with pytest.raises(SoundError, match=r"nan\.wav: some samples are no numbers"):
        read_sound(_float_wav(tmp_path / "nan.wav", tone, 16_000))


def test_of_an_hour_only_the_beginning_is_read_and_it_says_so(tmp_path: Path) -> None:
    file = _wav(tmp_path / "hour.wav", np.zeros(3600 * 8_000), 8_000)

    sound = read_sound(file, 16_000, most_s=60.0)

    assert sound.cut
    assert sound.duration_s == 60.0


def test_a_file_of_just_the_length_is_not_cut(tmp_path: Path) -> None:
    sound = read_sound(_wav(tmp_path / "a.wav", _tone(1.0, 16_000), 16_000), most_s=1.0)

    assert not sound.cut


def test_speech_for_a_session_that_is_too_long_says_what_to_do(tmp_path: Path) -> None:
    file = _wav(tmp_path / "long.wav", np.zeros(5 * 8_000), 8_000)

    with pytest.raises(SoundError, match=r"long\.wav: longer than 2 s; cut it in pieces"):
        read_speech(file, most_s=2.0)


def test_speech_for_a_session_has_a_rate_that_a_worker_takes(tmp_path: Path) -> None:
    studio = _wav(tmp_path / "studio.wav", _tone(0.5, 96_000), 96_000)
    plain = _wav(tmp_path / "plain.wav", _tone(0.5, 22_050), 22_050)

    assert read_speech(studio, 600.0).rate_hz == 48_000
    assert read_speech(plain, 600.0).rate_hz == 22_050
