"""A folder as a zip that is the same bytes for the same content, and digests of files."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

_PIECE = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def zip_folder(folder: Path, target: Path) -> str:
    """Zips what is in it; the zip's sha256. Neither times nor order of the disk get into it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            runs = file.stat().st_mode & 0o111
            entry.external_attr = (0o100755 if runs else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    return sha256(target)


def sha256(file: Path) -> str:
    """As hex."""
    seen = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            seen.update(piece)
    return seen.hexdigest()
