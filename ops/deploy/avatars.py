"""Avatars into a cell's bucket, where workers look for them, every file checked by its digest.

Files lie below ``avatars/NAME/DIGEST/``, and ``avatars/NAME/manifest.json`` names them there: it is
written last, so that a worker sees the old avatar or the new one and never half of each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_node.avatars.package import MANIFEST, NAME, ROOT, AvatarError, named_files
from ops.deploy.digests import sha256
from ops.deploy.ports import Objects

PREFIX = "avatars/"


@dataclass(frozen=True)
class Avatar:
    """An avatar whose files are as its manifest says; ``manifest`` is what the bucket gets."""

    name: str
    version: str
    folder: Path
    files: dict[str, str]
    manifest: bytes


def read(names: Sequence[str]) -> list[Avatar]:
    """The avatars of these names or folders. Raises AvatarError for a file that does not fit."""
    return [_read(name) for name in names]


def _read(name: str) -> Avatar:
    folder = Path(name) if "/" in name else ROOT / name
    file = folder / MANIFEST
    try:
        text = file.read_bytes()
        manifest: dict[str, Any] = json.loads(text)
        files = named_files(manifest)
    except OSError as error:
        raise AvatarError(f"avatar {name}: {file}: {error.strerror}; name another") from error
    except (ValueError, AvatarError) as error:
        raise AvatarError(f"{file}: {error}; make the avatar again") from error
    called = str(manifest.get("name", ""))
    if not NAME.fullmatch(called):
        raise AvatarError(f"{file}: name {called!r} is none; use a-z, 0-9, '-' and '_'")
    for path, digest in files.items():
        _check(folder / path, digest)
    version = hashlib.sha256(text).hexdigest()[:16]
    moved = {
        role: {**entry, "path": f"{version}/{entry['path']}"}
        for role, entry in manifest["files"].items()
    }
    kept = json.dumps({**manifest, "files": moved}, sort_keys=True).encode()
    return Avatar(called, version, folder, files, kept)


def _check(file: Path, digest: str) -> None:
    if not file.is_file():
        raise AvatarError(f"{file}: is not there; make the avatar again")
    found = sha256(file)
    if found != digest:
        raise AvatarError(
            f"{file}: sha256 {found[:12]}…, not {digest[:12]}… as its manifest says: it was "
            "damaged or changed; make the avatar again, then deploy"
        )


def upload(avatar: Avatar, objects: Objects, bucket: str, tell: Callable[[str, str], None]) -> int:
    """Stores what the bucket does not have; how many objects were new. Raises CloudError."""
    base = f"{PREFIX}{avatar.name}/"
    wanted: list[tuple[str, Path | bytes, str]] = [
        (f"{base}{avatar.version}/{path}", avatar.folder / path, digest)
        for path, digest in avatar.files.items()
    ]
    manifest_digest = hashlib.sha256(avatar.manifest).hexdigest()
    wanted.append((f"{base}{MANIFEST}", avatar.manifest, manifest_digest))
    sent = 0
    for key, source, digest in wanted:
        if objects.sha256(bucket, key) != digest:
            objects.put_file(bucket, key, source, digest)
            sent += 1
            tell(key, "UPLOADED")
    return sent
