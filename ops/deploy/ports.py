"""What the deployer needs of AWS and of this machine, a service each.

Every call may raise CloudError. ``ops.deploy.aws`` is the real other side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ops.deploy.facts import (
    Answer,
    ChangeSet,
    Event,
    Group,
    Identity,
    Leftover,
    Queue,
    Resource,
    Secret,
    Stack,
    Stored,
    Submission,
    Zone,
)


class Stacks(Protocol):
    """CloudFormation in one region."""

    def find(self, name_or_id: str) -> Stack | None:
        """By name only what is there; by id also what was deleted."""

    def events(self, stack_id: str, since: datetime | None) -> Sequence[Event]:
        """Oldest first, from ``since`` on."""

    def resources(self, stack_id: str) -> Sequence[Resource]:
        """What the stack has now, nested stacks themselves among it."""

    def propose(self, change_set: str, asked: Submission, *, create: bool, nested: bool) -> None:
        """Begins a change set; ``nested`` lists what changes in nested stacks as well."""

    def proposed(self, stack: str, change_set: str) -> ChangeSet:
        """The change set with all its changes; ``change_set`` is a name or an id."""

    def execute(self, stack: str, change_set: str) -> None:
        """Begins to do what the change set says."""

    def discard(self, stack: str, change_set: str) -> None:
        """Deletes a change set."""

    def delete(self, stack_id: str) -> None:
        """Begins to delete the stack."""


class Objects(Protocol):
    """S3 in one region."""

    def sha256(self, bucket: str, key: str) -> str | None:
        """Of what is stored, as hex; None where it is not there or was stored without."""

    def put_file(self, bucket: str, key: str, source: Path | bytes, sha256: str) -> None:
        """Stores it; S3 refuses a body whose digest is another."""

    def read(self, bucket: str, key: str) -> Stored | None:
        """A small object."""

    def write_if(self, bucket: str, key: str, body: bytes, etag: str | None) -> str:
        """Stores it where ``etag`` is there now (None: where nothing is); the new one's etag.

        Raises Conflict.
        """

    def remove_if(self, bucket: str, key: str, etag: str) -> None:
        """Gone, where ``etag`` was there. Raises Conflict."""


class Secrets(Protocol):
    """Secrets Manager in one region."""

    def current(self, name: str) -> Secret | None:
        """None where the region has no such secret."""

    def create(self, name: str, value: str, description: str) -> None:
        """A new one, in this region only. Raises Conflict where there is one."""

    def replicas(self, name: str) -> Sequence[str]:
        """Other regions that have it."""

    def replicate(self, name: str, regions: Sequence[str]) -> None:
        """Copies it there."""

    def delete(self, name: str) -> None:
        """With its replicas, at once; a replica alone stays as it is."""


class Functions(Protocol):
    """Lambda in one region."""

    def invoke(self, name: str, payload: Mapping[str, Any]) -> Any:
        """Its answer. Raises CloudError where the function failed, with its own words."""


class Pools(Protocol):
    """Auto Scaling in one region."""

    def groups(self, cell: str) -> Sequence[Group]:
        """The pools of that cell."""

    def empty(self, group: str, instances: Sequence[str]) -> None:
        """Wants no node there any more, and protects none."""

    def let_go(self, group: str, instance: str) -> None:
        """Answers the hook that holds an instance which is to be terminated."""


class Queues(Protocol):
    """SQS in one region."""

    def describe(self, url: str) -> Queue:
        """How it stands."""


class Limits(Protocol):
    """What the account may have in one region."""

    def quota(self, service: str, code: str) -> float:
        """The quota in force, by Service Quotas' own code."""

    def offered(self, types: Sequence[str]) -> frozenset[str]:
        """Those of the instance types that the region has."""

    def networks(self) -> int:
        """VPCs that are there."""

    def addresses(self) -> int:
        """Elastic addresses that are taken."""


class Leftovers(Protocol):
    """What templates keep when their stack goes, in one region."""

    def of(self, stack: str) -> Sequence[Leftover]:
        """What bears the stack's tag and holds data."""

    def delete(self, one: Leftover) -> None:
        """With all it holds: gone, or was not there; a key is gone a week later."""

    def unprotect_database(self, name: str) -> None:
        """So that its stack may delete it."""


@dataclass(frozen=True)
class Region:
    """One region's services."""

    name: str
    stacks: Stacks
    objects: Objects
    secrets: Secrets
    functions: Functions
    pools: Pools
    queues: Queues
    limits: Limits
    leftovers: Leftovers


class Cloud(Protocol):
    """An account."""

    def identity(self) -> Identity:
        """Raises CredentialsExpired."""

    def regions(self) -> frozenset[str]:
        """Those that are switched on for the account."""

    def zones(self) -> Sequence[Zone]:
        """Its public hosted zones."""

    def region(self, name: str) -> Region:
        """The same object each time; threads may share it."""


class Web(Protocol):
    """HTTPS from this machine."""

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Never raises."""


class Builder(Protocol):
    """What this machine has to have: the tools, and what they build."""

    def missing(self) -> Sequence[tuple[str, str]]:
        """Tools that are not there, each with its remedy."""

    def build(self) -> Path:
        """Builds the functions' package; the built template. Raises BuildError."""
