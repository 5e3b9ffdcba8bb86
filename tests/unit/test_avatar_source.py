"""Where avatars come from: what arrives is whole, and the disk never holds more than it may."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from gpu_node.avatars import AvatarError, load_avatar
from gpu_node.avatars.bucket import BucketSource, Kept, make_client
from gpu_node.avatars.source import FolderSource, make_source
from tests.unit.small_avatar import write_package

BUCKET = "faces"
MIB = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The very client of a worker, at an S3 of this machine; the bucket is empty."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    client = make_client("us-east-1")
    client.create_bucket(Bucket=BUCKET)
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    return client


@pytest.fixture
def put(s3: Any, tmp_path: Path) -> Callable[..., Path]:
    """Uploads a small avatar under that name."""

    def upload(name: str, seed: int = 1, frames: int = 2) -> Path:
        folder = write_package(tmp_path / f"made-{seed}-{frames}" / name, seed=seed, frames=frames)
        for file in folder.iterdir():
            s3.put_object(Bucket=BUCKET, Key=f"v1/{name}/{file.name}", Body=file.read_bytes())
        return folder

    return upload


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "cache", 64 * MIB)


@pytest.fixture
def source(s3: Any, kept: Kept) -> BucketSource:
    return BucketSource(s3, BUCKET, "v1/", kept)


def _get(source: BucketSource, name: str, in_use: tuple[Path, ...] = ()) -> Path:
    return source.get(name, source.catalogue()[name], in_use)


def _on_disk(kept: Kept) -> list[str]:
    return sorted(path.name for path in kept.folder.iterdir()) if kept.folder.exists() else []


def test_a_folder_lists_its_packages_and_gives_them_where_they_are(tmp_path: Path) -> None:
    write_package(tmp_path / "anna")
    (tmp_path / "not-an-avatar").mkdir()
    source = FolderSource(tmp_path)

    assert list(source.catalogue()) == ["anna"]
    assert source.get("anna", source.catalogue()["anna"], ()) == tmp_path / "anna"


def test_a_folder_tells_a_package_that_changed_by_its_version(tmp_path: Path) -> None:
    manifest = write_package(tmp_path / "anna") / "manifest.json"
    before = FolderSource(tmp_path).catalogue()

    manifest.write_text(manifest.read_text() + "\n")

    assert FolderSource(tmp_path).catalogue() != before


def test_an_avatar_that_left_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="anna: the avatar is gone"):
        FolderSource(tmp_path).get("anna", "1", ())


def test_those_that_come_with_the_worker_need_no_setting(tmp_path: Path) -> None:
    assert "demo" in make_source(None, "us-east-1", 64, tmp_path).catalogue()


def test_a_bucket_lists_its_avatars_and_brings_one_here_whole(
    source: BucketSource, put: Callable[..., Path]
) -> None:
    made = put("anna")
    put("ben", seed=2)

    path = _get(source, "anna")

    assert sorted(source.catalogue()) == ["anna", "ben"]
    for file in made.iterdir():
        assert (path / file.name).read_bytes() == file.read_bytes()
    assert load_avatar(path).name == "anna"


def test_what_is_here_is_not_fetched_again(
    source: BucketSource, put: Callable[..., Path], s3: Any
) -> None:
    put("anna")
    version = source.catalogue()["anna"]
    first = source.get("anna", version, ())
    s3.delete_object(Bucket=BUCKET, Key="v1/anna/generator.safetensors")

    assert source.get("anna", version, ()) == first


def test_a_new_upload_is_another_version_beside_the_old_one(
    source: BucketSource, put: Callable[..., Path]
) -> None:
    put("anna")
    old = _get(source, "anna")
    put("anna", seed=2)

    new = _get(source, "anna")

    assert new != old
    assert (new / "manifest.json").read_bytes() != (old / "manifest.json").read_bytes()


@pytest.mark.parametrize("file", ["generator.safetensors", "frames.zip"])
def test_a_damaged_download_is_refused_and_not_kept(
    source: BucketSource, put: Callable[..., Path], s3: Any, kept: Kept, file: str
) -> None:
    data = bytearray((put("anna") / file).read_bytes())
    data[len(data) // 2] ^= 1
    s3.put_object(Bucket=BUCKET, Key=f"v1/anna/{file}", Body=bytes(data))

    with pytest.raises(AvatarError, match=rf"s3://faces/v1/anna/{file}: damaged.*upload"):
        _get(source, "anna")

    assert _on_disk(kept) == []


def test_a_manifest_cannot_lead_out_of_the_folder(
    source: BucketSource, put: Callable[..., Path], s3: Any, kept: Kept
) -> None:
    manifest = json.loads((put("anna") / "manifest.json").read_text())
    manifest["files"]["frames"]["path"] = "../../elsewhere"
    s3.put_object(Bucket=BUCKET, Key="v1/anna/manifest.json", Body=json.dumps(manifest).encode())

    with pytest.raises(AvatarError, match=r"files\.frames\.path leaves"):
        _get(source, "anna")

    assert _on_disk(kept) == []


def test_a_missing_file_is_named_and_nothing_stays(
    source: BucketSource, put: Callable[..., Path], s3: Any, kept: Kept
) -> None:
    put("anna")
    s3.delete_object(Bucket=BUCKET, Key="v1/anna/frames.zip")

    with pytest.raises(AvatarError, match=r"s3://faces/v1/anna/.*may read it"):
        _get(source, "anna")

    assert _on_disk(kept) == []


def test_a_bucket_that_is_not_there_is_a_clear_error(s3: Any, kept: Kept) -> None:
    with pytest.raises(AvatarError, match=r"s3://nowhere-at-all/.*NoSuchBucket"):
        BucketSource(s3, "nowhere-at-all", "", kept).catalogue()


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    source: BucketSource,
    put: Callable[..., Path],
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put("anna")
    opened = Path.open

    def full(path: Path, mode: str = "r", *args: Any) -> Any:
        if mode == "wb":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *args)

    monkeypatch.setattr(Path, "open", full)

    with pytest.raises(AvatarError, match="the disk is full; free some of it"):
        _get(source, "anna")

    assert _on_disk(kept) == []


def test_the_longest_unused_one_makes_room(
    source: BucketSource, put: Callable[..., Path], kept: Kept
) -> None:
    paths = {}
    for seed, name in enumerate(("anna", "ben", "cleo"), 1):
        put(name, seed=seed)
        paths[name] = _get(source, name)
        os.utime(paths[name], (seed, seed))
    one = sum(file.stat().st_size for file in paths["anna"].iterdir())
    kept.limit_bytes = int(3.5 * one)
    put("dora", seed=4)
    kept.used(paths["anna"])

    _get(source, "dora")

    assert [name.split("@")[0] for name in _on_disk(kept)] == ["anna", "cleo", "dora"]


def test_one_in_use_is_never_removed(
    source: BucketSource, put: Callable[..., Path], kept: Kept
) -> None:
    put("anna")
    anna = _get(source, "anna")
    one = sum(file.stat().st_size for file in anna.iterdir())
    kept.limit_bytes = int(1.5 * one)
    put("ben", seed=2)

    with pytest.raises(AvatarError, match=r"RAPIDO_AVATAR_CACHE_MIB.*in use fill it; raise it"):
        _get(source, "ben", (anna,))

    assert [name.split("@")[0] for name in _on_disk(kept)] == ["anna"]


def test_an_avatar_larger_than_the_limit_is_refused(
    source: BucketSource, put: Callable[..., Path], kept: Kept
) -> None:
    put("anna")
    kept.limit_bytes = 1000

    with pytest.raises(AvatarError, match="RAPIDO_AVATAR_CACHE_MIB is 0; raise it"):
        _get(source, "anna")

    assert _on_disk(kept) == []


def test_what_a_killed_process_left_behind_goes_at_the_start(tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".arriving-1234"
    left.mkdir(parents=True)
    (left / "frames.zip").write_bytes(b"half")

    Kept(tmp_path / "cache", MIB)

    assert not left.exists()
