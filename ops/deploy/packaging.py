"""What a template names on this disk, as objects in a bucket named by their digest.

That is what ``sam package`` does; here the zip is made once for all regions, and its name is its
content, so that an upload made before is found again and an unchanged function stays unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.deploy.parameters import read_template
from ops.deploy.ports import Objects
from ops.deploy.zipping import sha256, zip_folder

PREFIX = "packages/"

_PROPERTIES = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::StateMachine": "DefinitionUri",
    "AWS::CloudFormation::Stack": "TemplateURL",
}
_STACK = "AWS::CloudFormation::Stack"
_FUNCTION = "AWS::Serverless::Function"


class PackageError(Exception):
    """The built template names something that is not there; the message says what."""


@dataclass(frozen=True)
class Upload:
    """Where a package is: the address of its template, and how many objects were new."""

    template_url: str
    sent: int


class _Store:
    """A bucket that is given only what it lacks."""

    def __init__(self, objects: Objects, bucket: str) -> None:
        self.bucket = bucket
        self.sent = 0
        self._objects = objects

    def put(self, key: str, source: Path | bytes, digest: str) -> None:
        if self._objects.sha256(self.bucket, key) != digest:
            self._objects.put_file(self.bucket, key, source, digest)
            self.sent += 1


class Packager:
    """Reads a built template once, and uploads it to any region; threads may share it."""

    def __init__(self, template: Path, scratch: Path) -> None:
        """Zips the folders into ``scratch``. Raises PackageError."""
        self._scratch = scratch
        self._root = template.resolve()
        self._templates: dict[Path, dict[str, Any]] = {}
        self._keys: dict[Path, str] = {}
        """Of what a template names, by where it is on this disk."""
        self._sources: dict[str, Path] = {}
        self._collect(self._root)

    def upload(self, objects: Objects, bucket: str, region: str) -> Upload:
        """Stores what the bucket does not have yet. Raises CloudError."""
        store = _Store(objects, bucket)
        for key, source in self._sources.items():
            store.put(key, source, Path(key).stem)
        url = self._place(self._root, store, f"https://{bucket}.s3.{region}.amazonaws.com", {})
        return Upload(url, store.sent)

    def _collect(self, template: Path) -> None:
        data = self._templates[template] = read_template(template)
        for _, resource, path in _named(template, data):
            if resource["Type"] == _STACK:
                if path not in self._templates:
                    self._collect(path)
            elif path not in self._keys:
                self._keys[path] = self._keep(path)

    def _keep(self, path: Path) -> str:
        """The key of a file, or of a folder's zip."""
        source, suffix = path, path.suffix
        if path.is_dir():
            source, suffix = self._scratch / f"{len(self._keys)}.zip", ".zip"
            zip_folder(path, source)
        key = f"{PREFIX}{sha256(source)}{suffix}"
        self._sources[key] = source
        return key

    def _place(self, template: Path, store: _Store, base: str, placed: dict[Path, str]) -> str:
        """Stores the template, and those nested in it before it; its address below ``base``."""
        if template in placed:
            return placed[template]
        data = self._templates[template]
        resources = dict(data["Resources"])
        for name, resource, path in _named(template, data):
            kind = resource["Type"]
            if kind == _STACK:
                value = self._place(path, store, base, placed)
            else:
                value = f"s3://{store.bucket}/{self._keys[path]}"
            properties = {**resource["Properties"], _PROPERTIES[kind]: value}
            resources[name] = {**resource, "Properties": properties}
        # YAML reads a format version as a date; str writes it as it was
        text = json.dumps({**data, "Resources": resources}, default=str).encode()
        digest = hashlib.sha256(text).hexdigest()
        store.put(f"{PREFIX}{digest}.json", text, digest)
        placed[template] = f"{base}/{PREFIX}{digest}.json"
        return placed[template]


def _named(template: Path, data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """Each resource that names something on this disk, and what. Raises PackageError."""
    shared = data.get("Globals", {}).get("Function", {})
    for name, resource in data["Resources"].items():
        kind = resource.get("Type")
        given = {**(shared if kind == _FUNCTION else {}), **resource.get("Properties", {})}
        value = given.get(_PROPERTIES.get(kind, ""))
        if not isinstance(value, str) or value.startswith(("https://", "s3://")):
            continue
        path = (template.parent / value).resolve()
        if not path.exists():
            raise PackageError(f"{template}: {name} names {value}, which is not there; build it")
        yield name, resource, path
