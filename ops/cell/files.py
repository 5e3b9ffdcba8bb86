"""Small things every part needs of the file system and the environment."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository: our own processes run from here."""


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner reads, from the first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def plain_environment() -> dict[str, str]:
    """What a server that is not ours gets: where programs are, and one locale for its log."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def cache_dir() -> Path:
    """Where built and copied programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rapido"


def own_environment() -> dict[str, str]:
    """What our own processes get of the caller's: all but the way to a real AWS account."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
