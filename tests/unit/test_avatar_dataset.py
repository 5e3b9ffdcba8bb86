"""Datasets in the published layout: what is wrong in one is named, with its remedy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ops.avatar.dataset import DatasetError, open_dataset, read_landmarks, read_picture, scaled
from ops.avatar.idle import dataset_sound, idle_stretch
from ops.avatar.writing import write_landmarks, write_picture, write_wav

SIZE = (160, 120)


def _landmarks(left: float = 40, right: float = 104, top: float = 30) -> np.ndarray:
    points = np.full((110, 2), 60.0)
    points[1], points[31], points[52] = (left, 20), (right, 20), (72, top)
    return points


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six frames, a second of sound that is quiet from the third frame on."""
    made = tmp_path / "anna"
    for name in ("full_body_img", "landmarks"):
        (made / name).mkdir(parents=True)
    for at in range(6):
        grey = np.full((SIZE[1], SIZE[0], 3), 40 * at, np.uint8)
        write_picture(made / "full_body_img" / f"{at}.jpg", grey)
        write_landmarks(made / "landmarks" / f"{at}.lms", _landmarks())
    pcm = np.full(16_000, 0.3, np.float32)
    pcm[2 * 640 : 4 * 640] = 0.0
    write_wav(made / "aud.wav", pcm, 16_000)
    return made


def test_a_whole_dataset_gives_pictures_and_even_boxes(folder: Path) -> None:
    dataset = open_dataset(folder)
    sizes = scaled(dataset, None)

    assert dataset.numbers == tuple(range(6))
    assert sizes.used == SIZE
    assert read_picture(dataset, 2, sizes).shape == (120, 160, 3)
    assert sizes.box(dataset, 0) == (40, 30, 64, 64)


def test_frames_are_counted_not_spelt(folder: Path) -> None:
    (folder / "full_body_img" / "10.jpg").write_bytes(b"")
    (folder / "landmarks" / "10.lms").write_text("")

    assert open_dataset(folder).numbers == (0, 1, 2, 3, 4, 5, 10)


def test_boxes_scale_with_the_pictures(folder: Path) -> None:
    dataset = open_dataset(folder)
    sizes = scaled(dataset, 60)

    assert sizes.used == (80, 60)
    assert read_picture(dataset, 0, sizes).shape == (60, 80, 3)
    assert sizes.box(dataset, 0) == (20, 16, 32, 32)


def test_an_odd_last_row_is_left_out(folder: Path) -> None:
    for at in range(6):
        write_picture(folder / "full_body_img" / f"{at}.jpg", np.zeros((121, 161, 3), np.uint8))
    dataset = open_dataset(folder)
    sizes = scaled(dataset, None)

    assert sizes.used == SIZE
    assert read_picture(dataset, 0, sizes).shape == (120, 160, 3)
    assert sizes.box(dataset, 0) == (40, 30, 64, 64)


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no full_body_img in it; .*rapido avatar prepare"):
        open_dataset(tmp_path)


def test_a_dataset_without_frames_is_refused(folder: Path) -> None:
    for file in (folder / "full_body_img").iterdir():
        file.unlink()

    with pytest.raises(DatasetError, match=r"full_body_img: no frames"):
        open_dataset(folder)


def test_a_missing_landmark_file_is_named(folder: Path) -> None:
    (folder / "landmarks" / "3.lms").unlink()

    with pytest.raises(DatasetError, match=r"3\.lms: missing, but there is full_body_img/3\.jpg"):
        open_dataset(folder)


def test_a_landmark_file_with_a_wrong_number_of_lines_is_named(folder: Path) -> None:
    file = folder / "landmarks" / "3.lms"
    file.write_text("1 2\n" * 68)

    with pytest.raises(DatasetError, match=r"3\.lms: 68 lines, not 110"):
        read_landmarks(file)


@pytest.mark.parametrize("line", ["left right", "12", "1 2 3", "nan 4", "1e999 2"])
def test_a_landmark_that_is_no_two_numbers_is_named(folder: Path, line: str) -> None:
    file = folder / "landmarks" / "3.lms"
    lines = file.read_text().splitlines()
    lines[7] = line
    file.write_text("\n".join(lines))

    with pytest.raises(DatasetError, match=rf"3\.lms: line 8 is '{line}', not two numbers"):
        read_landmarks(file)


def test_landmarks_that_are_no_text_are_named(folder: Path) -> None:
    file = folder / "landmarks" / "3.lms"
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DatasetError, match=r"3\.lms: not text"):
        read_landmarks(file)


@pytest.mark.parametrize(
    "points",
    [_landmarks(left=-20, right=60), _landmarks(left=110, right=180), _landmarks(top=80)],
    ids=["left", "right", "bottom"],
)
def test_a_face_at_the_border_is_named_with_its_box(folder: Path, points: np.ndarray) -> None:
    write_landmarks(folder / "landmarks" / "2.lms", points)
    dataset = open_dataset(folder)

    with pytest.raises(DatasetError, match=r"2\.lms: the face is at the border.*160 x 120"):
        scaled(dataset, None).box(dataset, 2)


def test_a_face_as_wide_as_the_picture_is_high_is_at_the_border(folder: Path) -> None:
    write_landmarks(folder / "landmarks" / "2.lms", _landmarks(left=10, right=150, top=-20))
    dataset = open_dataset(folder)

    with pytest.raises(DatasetError, match="at the border"):
        scaled(dataset, None).box(dataset, 2)


def test_a_box_that_sticks_out_by_rounding_is_moved_in(folder: Path) -> None:
    write_landmarks(folder / "landmarks" / "2.lms", _landmarks(left=97.2, right=161.1))
    dataset = open_dataset(folder)

    x, _, w, _ = scaled(dataset, None).box(dataset, 2)

    assert x + w == 160
    assert x % 2 == w % 2 == 0


def test_a_tiny_face_is_refused(folder: Path) -> None:
    write_landmarks(folder / "landmarks" / "2.lms", _landmarks(left=40, right=50))
    dataset = open_dataset(folder)

    with pytest.raises(DatasetError, match=r"2\.lms: the face is 10 px wide.*film it larger"):
        scaled(dataset, None).box(dataset, 2)


def test_frames_of_different_sizes_are_named(folder: Path) -> None:
    write_picture(folder / "full_body_img" / "4.jpg", np.zeros((100, 160, 3), np.uint8))
    dataset = open_dataset(folder)
    sizes = scaled(dataset, None)

    with pytest.raises(DatasetError, match=r"4\.jpg: 160 x 100 px, but the first .* 160 x 120"):
        read_picture(dataset, 4, sizes)


def test_a_frame_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "full_body_img" / "4.jpg").write_text("hello")
    dataset = open_dataset(folder)
    sizes = scaled(dataset, None)

    with pytest.raises(DatasetError, match=r"4\.jpg: not a picture"):
        read_picture(dataset, 4, sizes)


def test_the_idle_loop_is_the_quietest_stretch(folder: Path) -> None:
    dataset = open_dataset(folder)

    assert idle_stretch(dataset, dataset_sound(dataset), 2) == range(2, 4)
    assert idle_stretch(dataset, dataset_sound(dataset), 2, start=3) == range(3, 5)


def test_without_sound_the_idle_loop_is_the_beginning(folder: Path) -> None:
    (folder / "aud.wav").unlink()
    dataset = open_dataset(folder)

    assert dataset_sound(dataset) is None
    assert idle_stretch(dataset, None, 4) == range(4)


def test_the_idle_loop_has_no_hole(folder: Path) -> None:
    (folder / "full_body_img" / "2.jpg").unlink()
    dataset = open_dataset(folder)

    assert idle_stretch(dataset, None, 3) == range(2, 5)
    with pytest.raises(DatasetError, match="no 4 pictures in a row; give less with --frames"):
        idle_stretch(dataset, None, 4)


def test_an_idle_loop_that_cannot_begin_there_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="no 3 pictures in a row from number 5"):
        idle_stretch(open_dataset(folder), None, 3, start=5)


def test_a_damaged_sound_file_is_named(folder: Path) -> None:
    (folder / "aud.wav").write_text("hello")

    with pytest.raises(DatasetError, match=r"aud\.wav: not a sound file"):
        dataset_sound(open_dataset(folder))


def test_pictures_are_read_in_colour(folder: Path) -> None:
    blue = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    blue[..., 0] = 255
    cv2.imwrite(str(folder / "full_body_img" / "0.jpg"), blue)
    dataset = open_dataset(folder)

    assert read_picture(dataset, 0, scaled(dataset, None))[0, 0].argmax() == 0
