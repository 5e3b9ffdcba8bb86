"""gpu_node/Dockerfile, read, and the files that it puts into the image laid out in a folder."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Step:
    """One instruction of the last stage, its continued lines joined."""

    name: str
    rest: str


def last_stage() -> list[Step]:
    """What makes the image itself."""
    text = (ROOT / "gpu_node" / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    steps = [Step(*line.split(None, 1)) for line in text.splitlines() if line.strip()]
    start = max(at for at, step in enumerate(steps) if step.name == "FROM")
    return steps[start + 1 :]


def copies() -> list[tuple[str, str]]:
    """Source in the repository and target in the image, of what is copied from the repository."""
    found = [step.rest for step in last_stage() if step.name == "COPY"]
    pairs = [rest.split() for rest in found if not rest.startswith("--from=")]
    return [(source, target) for source, target in pairs]


def lay_out(root: Path) -> None:
    """Copies those files as a build would, below ``root``."""
    for source, target in copies():
        here, there = ROOT / source, root / target.lstrip("/")
        if here.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(here, there, ignore=ignored, dirs_exist_ok=True)
        else:
            there = there / here.name if target.endswith("/") else there
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here, there)


def environment() -> dict[str, str]:
    """Its ENV lines."""
    words = [word for step in last_stage() if step.name == "ENV" for word in shlex.split(step.rest)]
    return dict(word.split("=", 1) for word in words)


def value_of(name: str) -> str:
    """The rest of its one instruction of that name."""
    (found,) = [step.rest for step in last_stage() if step.name == name]
    return found


def health_check() -> list[str]:
    """The command of HEALTHCHECK."""
    command: list[str] = json.loads(value_of("HEALTHCHECK").split("CMD", 1)[1])
    return command
