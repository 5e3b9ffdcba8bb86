"""Digests of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 2**20


def sha256(file: Path) -> str:
    """As hex."""
    seen = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            seen.update(piece)
    return seen.hexdigest()
