"""Where a worker's avatars come from: a folder, or a bucket whose avatars are kept on this disk."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from gpu_node.avatars.package import MANIFEST, ROOT, AvatarError, available

S3 = "s3://"


class Source(Protocol):
    """Avatars by name. Its calls block: threads make them, and one ``get`` at a time."""

    def catalogue(self) -> dict[str, str]:
        """Each avatar's version, which is another one when its package changed.

        Raises AvatarError where they cannot be listed.
        """

    def get(self, name: str, version: str, in_use: Collection[Path]) -> Path:
        """The package's folder on this disk, its files checked. Packages ``in_use`` stay.

        Raises AvatarError.
        """


class FolderSource:
    """Packages in a folder of this machine; they are used where they are."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def catalogue(self) -> dict[str, str]:
        """See the port. A manifest holds the digests of all files: its time and size will do."""
        found: dict[str, str] = {}
        for name in available(self._root):
            try:
                facts = (self._root / name / MANIFEST).stat()
            except OSError:
                continue  # it was removed in this moment
            found[name] = f"{facts.st_mtime_ns}-{facts.st_size}"
        return found

    def get(self, name: str, version: str, in_use: Collection[Path]) -> Path:
        """See the port; the digests are checked when it is loaded."""
        del version, in_use
        path = self._root / name
        if not (path / MANIFEST).is_file():
            raise AvatarError(f"{path}: the avatar is gone; put it back or ask for another")
        return path


def make_source(where: str | None, region: str, limit_mib: float, cache: Path) -> Source:
    """What RAPIDO_AVATARS names: s3://bucket/prefix, a folder, or those that come with the worker.

    ``limit_mib`` bounds what is kept of a bucket in the folder ``cache``.
    """
    if where is None:
        return FolderSource()
    if not where.startswith(S3):
        return FolderSource(Path(where))
    from gpu_node.avatars.bucket import BucketSource, Kept, make_client

    bucket, _, prefix = where.removeprefix(S3).partition("/")
    kept = Kept(cache, round(limit_mib * 2**20))
    return BucketSource(make_client(region), bucket, prefix, kept)


def cache_folder(worker_id: str) -> Path:
    """A folder of this worker's own: no other process removes what it is about to load."""
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "rapido" / "avatars" / worker_id
