"""``rapido destroy``: the edge first, then the cells; data stays unless it is told to go."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ops.deploy import names
from ops.deploy.cell import FAULTS
from ops.deploy.deployment import Failure, failure_of
from ops.deploy.events import NESTED
from ops.deploy.facts import CloudError
from ops.deploy.pace import Pace
from ops.deploy.ports import Cloud, Region, Web
from ops.deploy.progress import Tell, step
from ops.deploy.stacks import Driver
from ops.deploy.status import fleet, operator_headers

DATABASE = "AWS::RDS::DBInstance"


class LessonsLive(CloudError):
    """Nodes may have lessons on them; the message says how to go on."""


@dataclass(frozen=True)
class Ending:
    """What is to end, and how."""

    stage: str
    regions: tuple[str, ...]
    whole: bool
    """All of the stage: the edge and its secret go as well."""
    delete_data: bool = False
    now: bool = False
    """Lessons are cut; else they end first, which needs ``key``."""
    key: str | None = None


class Destruction:
    """One run; run again it goes on."""

    def __init__(self, ending: Ending, cloud: Cloud, web: Web, tell: Tell, pace: Pace) -> None:
        self._ending = ending
        self._cloud = cloud
        self._web = web
        self._tell = tell
        self._pace = pace

    def run(self) -> tuple[Failure, ...]:
        """What could not be ended. Raises Stopped."""
        if self._ending.whole:
            try:
                self._edge()
            except FAULTS as error:
                return (failure_of("edge", error),)
        with ThreadPoolExecutor(len(self._ending.regions)) as threads:
            running = {r: threads.submit(self._cell, r) for r in self._ending.regions}
        failures = []
        for region, future in running.items():
            try:
                future.result()
            except FAULTS as error:
                failures.append(failure_of(region, error))
        if self._ending.whole and not failures:
            for region in self._ending.regions:
                secret = names.edge_secret(self._ending.stage)
                self._cloud.region(region).secrets.delete(secret)
        return tuple(failures)

    def _edge(self) -> None:
        here = self._cloud.region(names.EDGE_REGION)
        name = names.edge_stack(self._ending.stage)
        self._driver(here).remove(name)
        self._leftovers(here, name)

    def _cell(self, region: str) -> None:
        here = self._cloud.region(region)
        cell = names.cell_name(self._ending.stage, region)
        stacks = [names.cell_stack(cell), names.livekit_stack(cell)]
        if self._ending.delete_data:
            stacks.append(names.artifacts_stack(cell))
        self._empty_pools(here, cell)
        for name in stacks:
            stack = here.stacks.find(name)
            if stack is not None:
                self._unprotect(here, stack.id)
            self._driver(here).remove(name)
            self._leftovers(here, name)

    def _driver(self, here: Region) -> Driver:
        return Driver(here.name, here.stacks, self._tell, self._pace)

    def _empty_pools(self, here: Region, cell: str) -> None:
        """A group whose nodes are protected does not go with its stack."""
        groups = here.pools.groups(cell)
        if any(group.instances for group in groups) and not self._ending.now:
            self._until_no_lesson(here, cell)
        for group in groups:
            here.pools.empty(group.name, [i.id for i in group.instances if i.protected])
        while held := [g for g in here.pools.groups(cell) if g.instances]:
            for group in held:
                for node in group.instances:
                    if node.lifecycle == "Terminating:Wait":
                        here.pools.let_go(group.name, node.id)
            left = sum(len(group.instances) for group in held)
            step(self._tell, here.name, cell, "EMPTYING", f"{left} nodes left")
            self._pace.wait()

    def _until_no_lesson(self, here: Region, cell: str) -> None:
        """Every worker drains; returns once no slot is used."""
        stack = here.stacks.find(names.cell_stack(cell))
        url = stack.outputs.get("Url", "") if stack else ""
        if self._ending.key is None or not url:
            raise LessonsLive(
                "LessonsLive",
                f"{cell}: nodes are running, and lessons may be on them: give --key of an operator "
                "to wait for their end, or --now to cut them",
            )
        self._drain(here, url, self._ending.key)
        while True:
            sums = fleet(url, self._ending.stage, here, self._web, self._ending.key)
            if isinstance(sums, str):
                raise LessonsLive("LessonsLive", f"{cell}: {sums}; mend that, or give --now")
            if not sums["used"]:
                return
            step(self._tell, here.name, cell, "DRAINING", f"{sums['used']} lessons go on")
            self._pace.wait()

    def _drain(self, here: Region, url: str, key: str) -> None:
        headers = operator_headers(self._ending.stage, here, key)
        listed = self._web.call("GET", f"{url}/api/v1/workers", headers)
        workers = json.loads(listed.body)["workers"] if listed.status == 200 else []
        for one in workers:
            path = f"{url}/api/v1/workers/{one['worker_id']}/drain"
            self._web.call("POST", path, headers, {})

    def _unprotect(self, here: Region, stack_id: str) -> None:
        """Databases of the stack, and of those nested in it."""
        for one in here.stacks.resources(stack_id):
            if one.kind == NESTED:
                self._unprotect(here, one.physical_id)
            elif one.kind == DATABASE:
                here.leftovers.unprotect_database(one.physical_id)

    def _leftovers(self, here: Region, stack: str) -> None:
        """What holds data outlives its stack, and is found by its tag, by a later run as well."""
        for one in here.leftovers.of(stack):
            self._pace.go_on()
            if self._ending.delete_data:
                here.leftovers.delete(one)
            status = "DELETED" if self._ending.delete_data else "KEPT"
            step(self._tell, here.name, one.name, status, one.kind)
