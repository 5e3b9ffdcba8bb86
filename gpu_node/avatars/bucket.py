"""Avatars in an S3 bucket, PREFIX/NAME/manifest.json with its files beside it."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from gpu_node.avatars.package import MANIFEST, AvatarError, named_files

_PIECE = 2**20
_LARGEST_MANIFEST = 2**20
_ARRIVING = ".arriving-"
_log = logging.getLogger(__name__)


def make_client(region: str) -> Any:
    """An S3 client with this machine's credentials; AWS_ENDPOINT_URL may lead it elsewhere."""
    patience = Config(
        connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4}
    )
    return get_session().create_client("s3", region_name=region, config=patience)


class Kept:
    """Packages on this disk, no more than ``limit_bytes``: what was longest unused goes first."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        for left in folder.glob(f"{_ARRIVING}*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed

    def used(self, path: Path) -> None:
        """It is the last one to go now."""
        os.utime(path)

    def make_room(self, bytes_: int, in_use: Collection[Path]) -> None:
        """Removes packages until so much more fits; those in use stay. Raises AvatarError."""
        if bytes_ > self.limit_bytes:
            raise AvatarError(
                f"the avatar has {bytes_ / 2**20:.0f} MiB or more, "
                f"RAPIDO_AVATAR_CACHE_MIB is {self.limit_bytes / 2**20:.0f}; raise it"
            )
        packages = sorted(self._packages(), key=lambda path: path.stat().st_mtime_ns)
        sizes = {path: _size(path) for path in packages}
        total = sum(sizes.values())
        for path in packages:
            if total + bytes_ <= self.limit_bytes:
                return
            if path not in in_use:
                shutil.rmtree(path)
                total -= sizes[path]
                _log.info("avatar removed from this disk", extra={"avatar": path.name})
        if total + bytes_ > self.limit_bytes:
            raise AvatarError(
                f"RAPIDO_AVATAR_CACHE_MIB is {self.limit_bytes / 2**20:.0f}, and the avatars in "
                "use fill it; raise it"
            )

    @contextmanager
    def arriving(self, path: Path) -> Iterator[Path]:
        """A folder to fill, which becomes ``path`` when all of it is there; else nothing stays.

        Raises AvatarError where the disk is full.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=_ARRIVING, dir=self.folder))
            try:
                yield scratch
                scratch.rename(path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise AvatarError(
                f"{self.folder}: the disk is full; free some of it or lower RAPIDO_AVATAR_CACHE_MIB"
            ) from error

    def _packages(self) -> list[Path]:
        return [path.parent for path in self.folder.glob(f"[!.]*/{MANIFEST}")]


class BucketSource:
    """Lists a bucket, and brings packages to this disk; every file's digest is checked."""

    def __init__(self, client: Any, bucket: str, prefix: str, kept: Kept) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._kept = kept

    def catalogue(self) -> dict[str, str]:
        """See the port; the version is the ETag of the manifest, which holds all digests."""
        found: dict[str, str] = {}
        with self._told(f"s3://{self._bucket}/{self._prefix}"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for one in page.get("Contents", ()):
                    name, _, file = str(one["Key"]).removeprefix(self._prefix).partition("/")
                    if file == MANIFEST:
                        found[name] = str(one["ETag"]).strip('"')
        return found

    def get(self, name: str, version: str, in_use: Collection[Path]) -> Path:
        """See the port."""
        digest = hashlib.sha256(version.encode()).hexdigest()[:16]
        path = self._kept.folder / f"{name}@{digest}"
        if not path.is_dir():
            with self._told(self._url(name, "")), self._kept.arriving(path) as scratch:
                self._fetch(name, scratch, in_use)
            _log.info("avatar fetched", extra={"avatar": name, "bytes": _size(path)})
        self._kept.used(path)
        return path

    def _fetch(self, name: str, target: Path, in_use: Collection[Path]) -> None:
        text = self._read_manifest(name)
        try:
            files = named_files(json.loads(text))
        except (ValueError, AvatarError) as error:
            raise AvatarError(
                f"{self._url(name, MANIFEST)}: {error}; upload the avatar again"
            ) from error
        (target / MANIFEST).write_bytes(text)
        for file, digest in files.items():
            self._fetch_file(name, file, digest, target, in_use)

    def _read_manifest(self, name: str) -> bytes:
        answer = self._client.get_object(
            Bucket=self._bucket, Key=f"{self._prefix}{name}/{MANIFEST}"
        )
        text: bytes = answer["Body"].read(_LARGEST_MANIFEST + 1)
        if len(text) > _LARGEST_MANIFEST:
            raise AvatarError(f"{self._url(name, MANIFEST)}: over 1 MiB; upload the avatar again")
        return text

    def _fetch_file(
        self, name: str, file: str, digest: str, target: Path, in_use: Collection[Path]
    ) -> None:
        answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}/{file}")
        self._kept.make_room(_size(target) + int(answer["ContentLength"]), in_use)
        seen = hashlib.sha256()
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        with (target / file).open("wb") as out:
            for piece in answer["Body"].iter_chunks(_PIECE):
                seen.update(piece)
                out.write(piece)
        if seen.hexdigest() != digest:
            raise AvatarError(
                f"{self._url(name, file)}: damaged: sha256 {seen.hexdigest()[:12]}…, not "
                f"{digest[:12]}… as its manifest says; upload the avatar again"
            )

    def _url(self, name: str, file: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}/{file}"

    @contextmanager
    def _told(self, where: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise AvatarError(
                f"{where}: {error}; see that it is there and that this worker may read it"
            ) from error


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
