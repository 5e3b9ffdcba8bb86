"""What a built template names on this disk, as objects in a bucket named by their digest.

That is what ``sam package`` does; here files are read once for all regions, and an object's name is
its content, so that what was sent before is found again and an unchanged function stays unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from ops.deploy.digests import sha256
from ops.deploy.parameters import read_template
from ops.deploy.ports import Objects

PREFIX = "packages/"

_FILES = ("CodeUri", "DefinitionUri")
_NESTED = "TemplateURL"


class PackageError(Exception):
    """The built template names something that is not there; the message says what."""


@dataclass(frozen=True)
class Upload:
    """Where a package is: the address of its template, and how many objects were new."""

    template_url: str
    sent: int


class _Store:
    """A bucket that is given only what it lacks."""

    def __init__(self, objects: Objects, bucket: str, region: str) -> None:
        self.bucket = bucket
        self.base = f"https://{bucket}.s3.{region}.amazonaws.com"
        self.sent = 0
        self._objects = objects

    def put(self, key: str, source: Path | bytes, digest: str) -> None:
        if self._objects.sha256(self.bucket, key) != digest:
            self._objects.put_file(self.bucket, key, source, digest)
            self.sent += 1


@dataclass(frozen=True)
class _Named:
    """A property that names a file of this disk: the way to it in its template, and the file."""

    way: tuple[str | int, ...]
    file: Path

    @property
    def is_template(self) -> bool:
        return self.way[-1] == _NESTED


class Packager:
    """Reads a built template once, and uploads it to any region; threads may share it."""

    def __init__(self, template: Path) -> None:
        """Raises PackageError."""
        self._root = template.resolve()
        self._texts: dict[Path, str] = {}
        """Of the templates, as JSON."""
        self._named: dict[Path, list[_Named]] = {}
        self._digests: dict[Path, str] = {}
        """Of the files that templates name."""
        self._collect(self._root)

    def upload(self, objects: Objects, bucket: str, region: str) -> Upload:
        """Stores what the bucket does not have yet. Raises CloudError."""
        store = _Store(objects, bucket, region)
        for file, digest in self._digests.items():
            store.put(_key(file, digest), file, digest)
        url = self._place(self._root, store, {})
        return Upload(url, store.sent)

    def _collect(self, template: Path) -> None:
        data = read_template(template)
        self._texts[template] = json.dumps(data, default=str)
        named = self._named[template] = list(_named(template, data, ()))
        for one in named:
            if not one.is_template:
                self._digests[one.file] = sha256(one.file)
            elif one.file not in self._texts:
                self._collect(one.file)

    def _place(self, template: Path, store: _Store, placed: dict[Path, str]) -> str:
        """Stores the template, and those nested in it before it; its address."""
        if template in placed:
            return placed[template]
        data = json.loads(self._texts[template])
        for one in self._named[template]:
            *way, name = one.way
            reduce(getitem, way, data)[name] = (
                self._place(one.file, store, placed)
                if one.is_template
                else f"s3://{store.bucket}/{_key(one.file, self._digests[one.file])}"
            )
        text = json.dumps(data).encode()
        digest = hashlib.sha256(text).hexdigest()
        store.put(f"{PREFIX}{digest}.json", text, digest)
        placed[template] = f"{store.base}/{PREFIX}{digest}.json"
        return placed[template]


def _key(file: Path, digest: str) -> str:
    return f"{PREFIX}{digest}{file.suffix}"


def _named(template: Path, data: Any, way: tuple[str | int, ...]) -> Iterator[_Named]:
    """Whatever names a file of this disk, in resources or in what they share.

    Raises PackageError.
    """
    lists = enumerate(data) if isinstance(data, list) else ()
    for key, one in data.items() if isinstance(data, dict) else lists:
        yield from _named(template, one, (*way, key))
    for name in (*_FILES, _NESTED):
        value = data.get(name) if isinstance(data, dict) else None
        if not isinstance(value, str) or value.startswith(("https://", "s3://")):
            continue
        path = (template.parent / value).resolve()
        if not path.is_file():
            raise PackageError(f"{template}: {name} {value} is no file; run make package")
        yield _Named((*way, name), path)
