"""``rapido status``: every cell on one screen, and what to do where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ops.deploy import names
from ops.deploy.facts import CloudError, Stack
from ops.deploy.ports import Cloud, Region, Web
from ops.deploy.states import Move, next_move, remedy

_QUEUE = "AWS::SQS::Queue"


@dataclass(frozen=True)
class CellStatus:
    """A cell as it stands. ``health`` and ``workers`` are words; ``todo`` is for the operator."""

    cell: str
    region: str
    stacks: dict[str, str]
    url: str
    health: str
    workers: str
    dead_letters: int
    images: str
    """The repository that workers' images are pushed to."""
    todo: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """It is there, answers, and left no message behind."""
        return self.health == "ready" and not self.todo


@dataclass(frozen=True)
class EdgeStatus:
    """The public address."""

    stack: str
    url: str
    health: str


def cells(
    stage: str, regions: Sequence[str], cloud: Cloud, web: Web, key: str | None
) -> list[CellStatus]:
    """Side by side; a region that does not answer says so. ``key`` is an operator's."""

    def one(region: str) -> CellStatus:
        cell = names.cell_name(stage, region)
        try:
            return _Look(stage, cell, cloud.region(region), web, key).status()
        except CloudError as error:
            return CellStatus(cell, region, {}, "", "unknown", "unknown", 0, "", (str(error),))

    with ThreadPoolExecutor(len(regions)) as threads:
        return list(threads.map(one, regions))


def edge(stage: str, cloud: Cloud, web: Web) -> EdgeStatus:
    """Raises CloudError."""
    stack = cloud.region(names.EDGE_REGION).stacks.find(names.edge_stack(stage))
    url = stack.outputs.get("Url", "") if stack else ""
    return EdgeStatus(_state(stack), url, _health(url, web)[0])


@dataclass(frozen=True)
class _Look:
    stage: str
    cell: str
    here: Region
    web: Web
    key: str | None

    def status(self) -> CellStatus:
        todo: list[str] = []
        called = (
            names.artifacts_stack(self.cell),
            names.livekit_stack(self.cell),
            names.cell_stack(self.cell),
        )
        found = {name: self.here.stacks.find(name) for name in called}
        for stack in found.values():
            if stack is not None and next_move(stack) in (Move.REFUSE, Move.REPLACE):
                told = remedy(stack.status, stack.name, self.here.name)
                todo.append(f"{stack.name} is {stack.status}: {told}")
        main = found[names.cell_stack(self.cell)]
        url = main.outputs.get("Url", "") if main else ""
        health, fault = _health(url, self.web)
        todo += [fault] if fault else []
        dead = self._dead_letters(main, todo) if main and url else 0
        states = {name: _state(stack) for name, stack in found.items() if stack}
        workers = self._workers(url)
        artifacts = found[names.artifacts_stack(self.cell)]
        images = artifacts.outputs.get("RepositoryUri", "") if artifacts else ""
        return CellStatus(
            self.cell, self.here.name, states, url, health, workers, dead, images, tuple(todo)
        )

    def _dead_letters(self, stack: Stack, todo: list[str]) -> int:
        """Messages that failed again and again: those of queues that take others' dead letters."""
        held = self.here.stacks.resources(stack.id)
        queues = [self.here.queues.describe(one.physical_id) for one in held if one.kind == _QUEUE]
        targets = {queue.dead_arn for queue in queues if queue.dead_arn}
        total = 0
        for queue in queues:
            if queue.arn not in targets or not queue.messages:
                continue
            total += queue.messages
            region = self.here.name
            todo.append(
                f"{queue.messages} dead letters in {queue.arn.rpartition(':')[2]}: look at one "
                f"(aws sqs receive-message --region {region} --queue-url {queue.url}); once what "
                "failed is mended, send them again (aws sqs start-message-move-task --region "
                f"{region} --source-arn {queue.arn}); or drop them (aws sqs purge-queue --region "
                f"{region} --queue-url {queue.url})"
            )
        return total

    def _workers(self, url: str) -> str:
        if not url or self.key is None:
            return "give --key" if url else ""
        answer = fleet(url, self.stage, self.here, self.web, self.key)
        if isinstance(answer, str):
            return answer
        return (
            f"{answer['workers_alive']} of {answer['workers']} alive, {answer['used']} of "
            f"{answer['slots']} slots used"
        )


def fleet(url: str, stage: str, here: Region, web: Web, key: str) -> dict[str, Any] | str:
    """The cell's sums, or why there are none: asked for as the edge asks. Raises CloudError."""
    answer = web.call("GET", f"{url}/api/v1/fleet", operator_headers(stage, here, key))
    if answer.status != 200:
        return f"not told: {answer.status or 'no answer'} {answer.body[:80]}".strip()
    sums: dict[str, Any] = json.loads(answer.body)
    return sums


def operator_headers(stage: str, here: Region, key: str) -> dict[str, str]:
    """What a cell asks of a call that does not come through the edge. Raises CloudError."""
    secret = here.secrets.current(names.edge_secret(stage))
    passed = {"x-rapido-edge": secret.value} if secret else {}
    return {"Authorization": f"Bearer {key}", **passed}


def _health(url: str, web: Web) -> tuple[str, str]:
    """A word, and what to do about it."""
    if not url:
        return "not there", ""
    answer = web.call("GET", f"{url}/health/ready")
    if answer.status == 200:
        return "ready", ""
    told = f"{answer.status or 'no answer'} {answer.body[:120]}".strip()
    return "not ready", f"{url}/health/ready: {told}; see the cell's alarms in CloudWatch"


def _state(stack: Stack | None) -> str:
    return stack.status if stack else "not there"
