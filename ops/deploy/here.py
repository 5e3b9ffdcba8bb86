"""This machine's part of a deployment: what builds the package, and HTTPS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from ops.cell.files import ROOT
from ops.deploy.cell_template import ARTIFACTS, CELL, EDGE
from ops.deploy.facts import Answer, BuildError

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
_TOLD_LINES = 15


class Make:
    """``make package``, in the checkout that this command belongs to."""

    def missing(self) -> Sequence[tuple[str, str]]:
        """See the port."""
        found = []
        if shutil.which("make") is None:
            found.append(("make is not on the PATH", "install it (apt-get install make)"))
        if not (ROOT / "Makefile").is_file():
            found.append((f"{ROOT} is no checkout of Rapido", "run it from a git clone"))
        for file in (CELL, ARTIFACTS, EDGE):
            if not file.is_file():
                found.append((f"{file} is not there", "check out the whole repository"))
        return found

    def build(self) -> Path:
        """See the port."""
        done = subprocess.run(
            ["make", "--no-print-directory", "package"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not BUILT.is_file():
            said = "\n".join(done.stdout.splitlines()[-_TOLD_LINES:])
            raise BuildError(f"make package failed; correct that and deploy again:\n{said}")
        return BUILT


class Https:
    """See the port Web."""

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """See the port."""
        try:
            answer = httpx.request(
                method, url, headers=dict(headers or {}), json=body, timeout=30.0
            )
        except httpx.HTTPError as error:
            return Answer(0, f"{type(error).__name__}: {error}")
        return Answer(answer.status_code, answer.text)
