"""From a film of a face to a dataset: frames at 25 a second, landmarks where they belong, sound."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from ops.avatar.cli import avatar as commands
from ops.avatar.dataset import DatasetError, open_dataset, read_landmarks, scaled
from ops.avatar.faces import MediaPipe, as_published
from ops.avatar.preparing import _upright, bridged, frames_at_25, prepare, smoothed
from ops.film import write_film

W, H = 192, 160
FILM_FRAMES = 20


def _mesh(left: float = 50.0) -> np.ndarray:
    """478 points: an outline that is a half circle, a bridge that is a line."""
    mesh = np.full((478, 2), 5.0)
    outline = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
               377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356]  # fmt: skip
    turn = np.linspace(0, np.pi, len(outline))
    mesh[outline] = np.stack([left + 40 - 40 * np.cos(turn), 50 + 40 * np.sin(turn)], axis=1)
    mesh[[168, 6, 195, 4]] = [(left + 40, y) for y in (44, 52, 60, 68)]
    return mesh


class FakeDetector:
    """Sees one face wherever it looks, but as told."""

    def __init__(self, faces: Callable[[int], list[np.ndarray]] = lambda at: [_mesh()]) -> None:
        self.asked_ms: list[int] = []
        self._faces = faces

    def faces(self, picture: np.ndarray, at_ms: int) -> list[np.ndarray]:
        self.asked_ms.append(at_ms)
        return self._faces(len(self.asked_ms) - 1)


def _pictures(count: int = FILM_FRAMES) -> Iterator[np.ndarray]:
    for at in range(count):
        picture = np.full((H * 3 // 2, W), 128, np.uint8)
        picture[:H] = 20 + 10 * at
        yield picture


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """0.8 s that grow brighter, and whose sound begins at 0.4 s."""
    pcm = np.zeros(48_000, np.float32)
    pcm[19_200:] = 0.5 * np.sin(2 * np.pi * 440 * np.arange(28_800) / 48_000)
    write_film(tmp_path / "anna.mp4", (W, H), _pictures(), pcm)
    return tmp_path / "anna.mp4"


def _prepare(film: Path, detector: FakeDetector, height_px: int = 720) -> Path:
    folder = film.parent / "anna"
    prepare(film, folder, detector, height_px, lambda _line: None)
    return folder


def test_a_film_becomes_a_dataset_that_can_be_used(film: Path) -> None:
    detector = FakeDetector()

    dataset = open_dataset(_prepare(film, detector))

    assert len(dataset.numbers) == FILM_FRAMES
    assert detector.asked_ms == [40 * at for at in range(FILM_FRAMES)]
    assert scaled(dataset, None).box(dataset, 3) == (50, 52, 80, 80)
    with wave.open(str(dataset.path / "aud.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    assert len(pcm) == FILM_FRAMES * 640
    assert np.argmax(np.abs(pcm) > 3_000) == pytest.approx(6_400, abs=200)


def test_a_film_of_another_rate_is_brought_to_25(tmp_path: Path) -> None:
    file = tmp_path / "fifty.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for picture in _pictures():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        out.mux(stream.encode())

    shown = [int(picture.mean()) for picture, _ in frames_at_25(file, 720)]

    assert len(shown) == FILM_FRAMES // 2
    assert np.diff(shown).min() > 10


def test_large_films_are_made_smaller(film: Path) -> None:
    picture, _ = next(iter(frames_at_25(film, 80)))

    assert picture.shape == (80, 96, 3)


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (-90, (0, -1)), (90, (-1, 0))])
def test_a_film_held_upright_is_turned(degrees: int, corner: tuple[int, int]) -> None:
    picture = np.zeros((60, 40, 3), np.uint8)
    picture[0, 0] = 255
    frame = SimpleNamespace(rotation=degrees, to_ndarray=lambda **_: picture)

    assert _upright(frame, 720)[corner].max() == 255


def test_two_faces_are_told_with_their_time(film: Path) -> None:
    detector = FakeDetector(lambda at: [_mesh()] * (2 if at == 10 else 1))

    with pytest.raises(DatasetError, match=r"anna\.mp4: 2 faces at 0\.40 s; film one person only"):
        _prepare(film, detector)

    assert [path.name for path in film.parent.iterdir()] == ["anna.mp4"]


def test_a_film_without_a_face_is_refused(film: Path) -> None:
    with pytest.raises(DatasetError, match=r"anna\.mp4: no face found"):
        _prepare(film, FakeDetector(lambda at: []))


def test_a_face_that_is_away_too_long_is_told_with_its_times(film: Path) -> None:
    detector = FakeDetector(lambda at: [] if 5 <= at < 15 else [_mesh()])

    with pytest.raises(DatasetError, match=r"no face from 0\.20 to 0\.60 s; cut that part out"):
        _prepare(film, detector)


def test_a_face_at_the_border_is_told_with_its_time(film: Path) -> None:
    detector = FakeDetector(lambda at: [_mesh(left=150 if at > 9 else 50)])

    with pytest.raises(DatasetError, match=r"anna\.mp4 at 0\.\d+ s: the face is at the border"):
        _prepare(film, detector)


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mute.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for picture in _pictures():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        out.mux(stream.encode())

    with pytest.raises(DatasetError, match=r"mute\.mp4: there is no sound in it.*lips learn"):
        _prepare(file, FakeDetector())


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "words.mp4"
    file.write_text("hello")

    with pytest.raises(DatasetError, match=r"words\.mp4: not a film"):
        _prepare(file, FakeDetector())


def test_a_folder_that_is_there_is_left_alone(film: Path) -> None:
    (film.parent / "anna").mkdir()

    with pytest.raises(DatasetError, match="is there already"):
        _prepare(film, FakeDetector())


def test_a_blink_of_the_detector_is_bridged_between_its_ends() -> None:
    first, last = np.zeros((110, 2)), np.full((110, 2), 4.0)

    points = bridged([None, first, None, None, None, last], Path("x.mp4"))

    assert points[:, 0, 0].tolist() == [0, 0, 1, 2, 3, 4]


def test_trembling_is_smoothed_and_a_steady_face_stays() -> None:
    random = np.random.default_rng(1)
    steady = np.full((50, 110, 2), 100.0)
    trembling = steady + random.normal(size=steady.shape)

    assert smoothed(trembling).std() < 0.6
    np.testing.assert_allclose(smoothed(steady), steady)


def test_the_published_indices_are_the_jaws_sides_the_chin_and_the_bridge() -> None:
    points = as_published(_mesh())

    assert points.shape == (110, 2)
    np.testing.assert_allclose(points[[0, 16, 32]], [(50, 50), (90, 90), (130, 50)], atol=0.1)
    assert points[1, 0] < points[16, 0] < points[31, 0]
    np.testing.assert_allclose(points[51:55], [(90, 44), (90, 52), (90, 60), (90, 68)])
    steps = np.hypot(*np.diff(points[:33], axis=0).T)
    assert steps.max() / steps.min() < 1.1


def test_without_mediapipe_the_command_says_what_to_install(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mediapipe", None)

    done = CliRunner().invoke(commands, ["prepare", str(film), str(film.parent / "anna")])

    assert done.exit_code == 1
    assert "mediapipe is not installed" in done.output
    assert "rapido[landmarks]" in done.output


def test_without_its_model_file_it_says_which_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = __import__("sys").modules
    for name in ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python"):
        monkeypatch.setitem(modules, name, SimpleNamespace(BaseOptions=None, vision=None))

    with pytest.raises(DatasetError, match=r"nowhere\.task: no such file; fetch Google's"):
        MediaPipe(tmp_path / "nowhere.task")


def test_landmarks_are_written_as_they_are_read(film: Path) -> None:
    dataset = open_dataset(_prepare(film, FakeDetector()))

    np.testing.assert_allclose(
        read_landmarks(dataset.landmarks(7)), as_published(_mesh()), atol=0.01
    )
