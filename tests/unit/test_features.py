"""The mel front end: a stream of pieces gives the numbers of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_node.features import SHORTEST, MelStream, audio_window

_SPEECH = (0.1 * np.random.default_rng(5).normal(size=16_000)).astype(np.float32)


def _windows(pieces: list[np.ndarray]) -> list[np.ndarray]:
    stream = MelStream()
    windows = []
    for piece in pieces:
        stream.push(piece)
        windows += stream.windows()
    stream.finish()
    return windows + stream.windows()


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, len(_SPEECH)), max_size=30), length=st.integers(1, 16_000))
def test_pieces_of_any_length_give_the_windows_of_the_whole(cuts: list[int], length: int) -> None:
    speech = _SPEECH[:length]

    whole = _windows([speech])
    cut = _windows(np.split(speech, sorted(min(c, length) for c in cuts)))

    assert len(cut) == len(whole)
    np.testing.assert_allclose(np.stack(cut), np.stack(whole), atol=1e-5)


def test_a_second_of_speech_gives_the_published_count_of_windows() -> None:
    columns = 1 + len(_SPEECH) // 200

    windows = _windows([_SPEECH])

    once = int((columns - 16) / 80 * 25) + 2
    assert len(windows) == once + 2
    assert all(window.shape == (80, 16) and window.dtype == np.float32 for window in windows)


def test_the_first_and_the_last_window_stand_there_twice() -> None:
    windows = _windows([_SPEECH])

    np.testing.assert_array_equal(windows[0], windows[1])
    np.testing.assert_array_equal(windows[-1], windows[-2])


def test_a_window_leaves_as_soon_as_its_sound_is_there() -> None:
    stream = MelStream()

    stream.push(_SPEECH[: SHORTEST + 399])
    before = stream.windows()
    stream.push(_SPEECH[SHORTEST + 399 : SHORTEST + 400])

    assert before == []
    assert len(stream.windows()) == 2


def test_silence_is_the_floor_of_the_scale() -> None:
    windows = _windows([np.zeros(16_000, np.float32)])

    assert all((window == -4.0).all() for window in windows)


def test_ten_minutes_of_silence_keep_the_stream_small() -> None:
    stream = MelStream()
    quiet = np.zeros(16_000, np.float32)

    for _ in range(600):
        stream.push(quiet)
        stream.windows()

    assert len(stream._samples) < 2_000
    assert len(stream._mel) < 1_000


def test_speech_shorter_than_a_window_is_filled_with_silence() -> None:
    assert len(_windows([_SPEECH[:100]])) >= 2
    assert _windows([]) == []


@pytest.mark.parametrize(
    ("piece", "fault"),
    [
        (np.array([0.0, np.nan], np.float32), "NaN or infinite"),
        (np.array([np.inf], np.float32), "NaN or infinite"),
        (np.zeros((2, 80), np.float32), "one row"),
        (np.zeros(80, np.int16), "floating samples"),
    ],
)
def test_samples_that_are_no_speech_are_refused(piece: np.ndarray, fault: str) -> None:
    stream = MelStream()

    with pytest.raises(ValueError, match=f"pcm16k.*{fault}"):
        stream.push(piece)

    stream.push(_SPEECH)
    stream.finish()
    np.testing.assert_allclose(np.stack(stream.windows()), np.stack(_windows([_SPEECH])))


def test_a_finished_speech_takes_no_more_until_reset() -> None:
    stream = MelStream()
    stream.finish()

    with pytest.raises(ValueError, match=r"call reset\(\)"):
        stream.push(_SPEECH)

    stream.reset()
    stream.push(_SPEECH)
    assert stream.windows()


def test_a_frame_sees_eight_features_back_and_eight_ahead() -> None:
    features = [np.full(512, float(index), np.float32) for index in range(30)]

    assert audio_window(features, 10)[:, 0].tolist() == list(range(2, 18))
    assert audio_window(features, 0)[:, 0].tolist() == [0.0] * 8 + list(range(8))
    assert audio_window(features, 29)[:, 0].tolist() == [*range(21, 30)] + [0.0] * 7
