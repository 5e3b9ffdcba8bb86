"""``rapido deploy``: all regions side by side, then the edge, then a look at the address."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ops.deploy import avatars, edge
from ops.deploy.avatars import Avatar
from ops.deploy.cell import FAULTS, CellDeploy, Serving
from ops.deploy.cell_parameters import Shared
from ops.deploy.facts import CredentialsExpired
from ops.deploy.lock import Lock, holder
from ops.deploy.pace import Pace, Stopped
from ops.deploy.packaging import Packager
from ops.deploy.ports import Builder, Cloud, Web
from ops.deploy.progress import Tell, step
from ops.deploy.settings import Wanted
from ops.deploy.smoke import Smoke, smoke
from ops.deploy.stacks import StackFailed

LOCK_KEY = "deploying.json"


@dataclass(frozen=True)
class Failure:
    """Why a region, or the edge, is not what was asked for, and what to do."""

    where: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """What came of a deploy."""

    serving: Mapping[str, Serving]
    failures: tuple[Failure, ...]
    url: str | None
    smoke: Smoke | None
    stopped: str = ""
    """Why it did not come to its end, where it was interrupted."""

    @property
    def ok(self) -> bool:
        """Everything that was asked for is there and answers."""
        looked = self.smoke is not None and self.smoke.ok
        return not self.failures and not self.stopped and looked


@dataclass(frozen=True)
class Surroundings:
    """The other sides of a deploy."""

    cloud: Cloud
    builder: Builder
    web: Web
    tell: Tell
    pace: Pace


class Deployment:
    """One run."""

    def __init__(self, wanted: Wanted, zone_id: str, around: Surroundings) -> None:
        self._wanted = wanted
        self._zone_id = zone_id
        self._around = around
        self._cells = {
            region: CellDeploy(wanted, around.cloud.region(region), around.tell, around.pace)
            for region in wanted.regions
        }

    def run(self, key: str | None) -> Report:
        """``key`` is a client's, to try a session with.

        Raises, before any cell is touched: Locked, BuildError, PackageError, AvatarError, and what
        one of FAULTS the home region's bucket, which holds the lock, or the edge's secret meets.
        """
        wanted, around = self._wanted, self._around
        faces = avatars.read(wanted.avatars)
        step(around.tell, "here", "package", "BUILDING")
        template = around.builder.build()
        step(around.tell, "here", "package", "BUILT", str(template))
        packager = Packager(template)
        try:
            with self._lock(self._cells[wanted.home].artifacts()):
                return self._locked(packager, faces, key)
        except Stopped:
            return Report({}, (), None, None, around.pace.why)

    def _lock(self, bucket: str) -> Lock:
        home, pace = self._wanted.home, self._around.pace
        lost = f"the lock of this stage, in {home}, went to another deploy"
        objects = self._around.cloud.region(home).objects
        return Lock(objects, bucket, LOCK_KEY, holder(), lambda: pace.stop(lost))

    def _locked(self, packager: Packager, faces: list[Avatar], key: str | None) -> Report:
        wanted, around = self._wanted, self._around
        shared = Shared(self._zone_id, edge.bring_secret(wanted, around.cloud, around.tell))
        serving, failures = self._all_cells(shared, packager, faces)
        try:
            around.pace.go_on()
            if not serving:
                return Report(serving, failures, None, None)
            stack = edge.bring_edge(wanted, around.cloud, shared, around.tell, around.pace)
            url = stack.outputs["Url"]
            looked = smoke(url, key, around.web, around.tell, around.pace)
        except Stopped:
            return Report(serving, failures, None, None, around.pace.why)
        except FAULTS as error:
            return Report(serving, (*failures, failure_of("edge", error)), None, None)
        return Report(serving, failures, url, looked)

    def _all_cells(
        self, shared: Shared, packager: Packager, faces: list[Avatar]
    ) -> tuple[dict[str, Serving], tuple[Failure, ...]]:
        """Every region; one that fails leaves the others to go on."""
        with ThreadPoolExecutor(len(self._wanted.regions)) as threads:
            running: dict[str, Future[Serving]] = {}
            for region, cell in self._cells.items():
                running[region] = threads.submit(cell.run, shared, packager, faces)
                running[region].add_done_callback(self._ended)
        serving: dict[str, Serving] = {}
        failures: list[Failure] = []
        for region, future in running.items():
            try:
                serving[region] = future.result()
            except Stopped:
                continue
            except FAULTS as error:
                failures.append(failure_of(region, error))
        return serving, tuple(failures)

    def _ended(self, region: Future[Serving]) -> None:
        """A region whose credentials expired ends all: the others have the same."""
        error = region.exception()
        if isinstance(error, CredentialsExpired):
            self._around.pace.stop(f"the credentials have expired ({error})")


def failure_of(where: str, error: Exception) -> Failure:
    """A fault as the operator is told it."""
    if isinstance(error, StackFailed):
        return Failure(where, f"{error.stack}: {error.reason}", error.remedy)
    if isinstance(error, CredentialsExpired):
        return Failure(where, str(error), "sign in again, and run the same command: it goes on")
    return Failure(where, str(error), "see to that, and run the same command: it goes on")
