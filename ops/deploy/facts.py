"""What AWS answers the deployer, as plain values, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


class CloudError(Exception):
    """AWS refused or was not reached; ``code`` is its own, the message says which call."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class CredentialsExpired(CloudError):
    """None, or no longer valid: everything after it would fail as well."""


class Conflict(CloudError):
    """A conditional write found that another was there first."""


@dataclass(frozen=True)
class Stack:
    """A stack as it stands; ``status`` is CloudFormation's own."""

    id: str
    name: str
    status: str
    reason: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened to a resource of a stack, or to the stack itself."""

    id: str
    at: datetime
    stack_id: str
    resource: str
    kind: str
    status: str
    reason: str = ""
    physical_id: str = ""


@dataclass(frozen=True)
class Change:
    """One line of a change set; ``replacement`` is True, False, Conditional or empty."""

    action: str
    resource: str
    kind: str
    replacement: str = ""
    nested: str = ""
    """Id of the nested stack's own change set, where it has one."""


@dataclass(frozen=True)
class ChangeSet:
    """A change set as it stands."""

    status: str
    reason: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Submission:
    """What a change set is made from; ``template`` is a body or an https address."""

    stack: str
    template: str
    parameters: Mapping[str, str | None]
    """None: whatever the stack has."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Resource:
    """A resource that a stack has."""

    logical_id: str
    physical_id: str
    kind: str


@dataclass(frozen=True)
class Stored:
    """An object; ``age_s`` by the store's own clock."""

    body: bytes
    etag: str
    age_s: float


@dataclass(frozen=True)
class Secret:
    """A secret's string, and which version of it that is."""

    value: str
    version: str


@dataclass(frozen=True)
class Instance:
    """A node of a group, by Auto Scaling's own words."""

    id: str
    lifecycle: str
    protected: bool


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group."""

    name: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Queue:
    """A queue; ``dead`` is the address of the one that takes its dead letters."""

    url: str
    arn: str
    messages: int
    dead_arn: str = ""


@dataclass(frozen=True)
class Leftover:
    """What a stack left when it went: a bucket, repository, snapshot or key."""

    kind: str
    name: str


@dataclass(frozen=True)
class Identity:
    """As whom the calls are made."""

    account: str
    arn: str


@dataclass(frozen=True)
class Zone:
    """A public hosted zone; ``domain`` without the last dot."""

    id: str
    domain: str


@dataclass(frozen=True)
class Answer:
    """What an address answered; status 0: nothing did, and ``body`` says why."""

    status: int
    body: str


class BuildError(Exception):
    """The package could not be built; the message ends with what the tool said last."""
