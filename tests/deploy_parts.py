"""A deploy in memory: the repository's own templates, a small package, an account."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml
from ops.deploy.deployment import Deployment, Report, Surroundings
from ops.deploy.pace import Pace
from ops.deploy.progress import Line
from ops.deploy.settings import Livekit, Wanted
from tests.fake_cloud import FakeCloud, FakeWeb

REGIONS = ("us-east-1", "us-west-2", "eu-central-1")
ROOMS = Livekit(dict.fromkeys(REGIONS, "wss://rooms.example.com"), "rooms")
IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/worker@sha256:{'ab' * 32}"


def wanted(**changes: Any) -> Wanted:
    """Three cells behind rapido.example.com, with LiveKit elsewhere."""
    base = {"domain": "rapido.example.com", "regions": REGIONS, "home": "us-east-1"}
    return Wanted(**{**base, "livekit": ROOMS, **changes})


def account() -> FakeCloud:
    """An account that lacks nothing."""
    cloud = FakeCloud()
    keys = json.dumps({"livekit_api_key": "k", "livekit_api_secret": "s"})
    cloud.secret_store["rooms"] = {
        "value": keys, "version": "0" * 32, "in": [*REGIONS], "primary": "us-east-1"
    }  # fmt: skip
    return cloud


@dataclass
class FakeBuilder:
    """See the port Builder: the repository's template, built beside a package of one file."""

    folder: Path
    lacking: list[tuple[str, str]] = field(default_factory=list)

    def missing(self) -> Sequence[tuple[str, str]]:
        return self.lacking

    def build(self) -> Path:
        template = self.folder / "template.yaml"
        if template.exists():
            return template
        (self.folder / "build").mkdir(parents=True)
        (self.folder / "build" / "control.zip").write_bytes(b"a small package")
        (self.folder / "build" / "planner.zip").write_bytes(b"a package with a solver")
        data = read_yaml(ROOT / "template.yaml")
        data["Globals"]["Function"]["CodeUri"] = "build/control.zip"
        for resource in data["Resources"].values():
            properties = resource.get("Properties", {})
            for key in ("DefinitionUri", "TemplateURL"):
                if isinstance(properties.get(key), str):
                    properties[key] = str(ROOT / properties[key])
        template.write_text(json.dumps(data, default=str))
        return template


@dataclass
class Told:
    """What an operator saw."""

    lines: list[Line] = field(default_factory=list)

    def __call__(self, line: Line) -> None:
        self.lines.append(line)

    def text(self) -> str:
        return "\n".join(line.text() for line in self.lines)

    def of(self, region: str) -> list[str]:
        return [f"{line.resource} {line.status}" for line in self.lines if line.region == region]


@dataclass
class Run:
    """Deploys of one checkout to one account."""

    cloud: FakeCloud
    folder: Path
    told: Any = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.web = FakeWeb(self.cloud)
        self.builder = FakeBuilder(self.folder / "build")

    def deploy(self, what: Wanted | None = None, pace: Pace | None = None) -> Report:
        """As the command does after its checks."""
        around = Surroundings(self.cloud, self.builder, self.web, self.told, pace or Pace(0.0))
        return Deployment(what or wanted(), "Z0EXAMPLE", around).run(None)
