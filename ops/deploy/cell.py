"""One region's steps, in their order; each finds what an earlier run has done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.deploy import avatars, names, parameters
from ops.deploy.avatars import Avatar
from ops.deploy.cell_parameters import (
    Parameters,
    Shared,
    artifacts_parameters,
    cell_parameters,
    livekit_parameters,
)
from ops.deploy.cell_template import ARTIFACTS, CELL, LIVEKIT
from ops.deploy.facts import CloudError, Stack, Submission
from ops.deploy.pace import Pace
from ops.deploy.packaging import Packager
from ops.deploy.parameters import ParameterError
from ops.deploy.ports import Region
from ops.deploy.progress import Tell, step
from ops.deploy.settings import Wanted
from ops.deploy.stacks import Driver, StackFailed


@dataclass(frozen=True)
class Serving:
    """A cell that stands: its address, and whether this run changed it."""

    cell: str
    url: str
    changed: bool


class CellDeploy:
    """A cell in its region."""

    def __init__(self, wanted: Wanted, here: Region, tell: Tell, pace: Pace) -> None:
        self._wanted = wanted
        self._here = here
        self._cell = wanted.cell(here.name)
        self._tell = tell
        self._driver = Driver(here.name, here.stacks, tell, pace)
        self._bucket = ""

    def artifacts(self) -> str:
        """Brings the bucket's stack, once; the bucket's name. Raises StackFailed, CloudError."""
        if not self._bucket:
            name = names.artifacts_stack(self._cell)
            stack, _ = self._bring(name, ARTIFACTS, artifacts_parameters(self._cell))
            self._bucket = _output(stack, "BucketName")
        return self._bucket

    def run(self, shared: Shared, packager: Packager, faces: Sequence[Avatar]) -> Serving:
        """All steps. Raises StackFailed, CloudError, ParameterError, Stopped."""
        bucket = self.artifacts()
        package = packager.upload(self._here.objects, bucket, self._here.name)
        known = package.template_url.rpartition("/")[2]
        self._say("package", "UPLOADED" if package.sent else "UNCHANGED", known)
        for face in faces:
            sent = avatars.upload(face, self._here.objects, bucket, self._say)
            self._say(f"avatar {face.name}", "UPLOADED" if sent else "UNCHANGED", face.version)
        given = cell_parameters(
            self._wanted,
            self._here.name,
            shared,
            bucket=bucket,
            livekit=self._livekit(shared),
        )
        self._check(CELL, given)
        stack, changed = self._submit(names.cell_stack(self._cell), package.template_url, given)
        if self._here.name == self._wanted.home:
            self._migrate(stack)
        return Serving(self._cell, _output(stack, "Url"), changed)

    def _livekit(self, shared: Shared) -> tuple[str, str] | None:
        """Its URL and the secret of its keys; None: as it was."""
        livekit = self._wanted.livekit
        if livekit is None:
            return None
        if not livekit.own:
            return livekit.urls[self._here.name], livekit.secret
        given = livekit_parameters(self._wanted, self._here.name, shared)
        stack, _ = self._bring(names.livekit_stack(self._cell), LIVEKIT, given)
        return _output(stack, "Url"), _output(stack, "SecretId")

    def _migrate(self, stack: Stack) -> None:
        """Each deploy, for a new version may have new tables."""
        function = _output(stack, "AdminFunctionName")
        self._here.functions.invoke(function, {"do": "migrate"})
        self._say(function, "MIGRATED", "the tables are as this version wants them")

    def _bring(self, name: str, template: Path, given: Parameters) -> tuple[Stack, bool]:
        self._check(template, given)
        return self._submit(name, parameters.body(template), given)

    def _submit(self, name: str, template: str, given: Parameters) -> tuple[Stack, bool]:
        tags = names.tags(self._wanted.stage, name)
        return self._driver.bring(Submission(name, template, given, tags))

    def _check(self, template: Path, given: Parameters) -> None:
        faults = parameters.check(template, given)
        if faults:
            raise ParameterError(f"{self._cell}: parameter {'; '.join(faults)}")

    def _say(self, what: str, status: str, reason: str = "") -> None:
        step(self._tell, self._here.name, what, status, reason)


def _output(stack: Stack, name: str) -> str:
    try:
        return stack.outputs[name]
    except KeyError:
        raise StackFailed(
            stack.name, f"it has no output {name}", "deploy again with the template of this version"
        ) from None


FAULTS = (StackFailed, CloudError, ParameterError)
"""What fails one region and leaves the others alone."""
