"""An AWS account in memory, behind the deployer's own ports.

Any call may be made to fail, by its number in its region: ``trip``. Threads may share it.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.deploy.facts import (
    Answer,
    CloudError,
    Conflict,
    CredentialsExpired,
    Group,
    Identity,
    Instance,
    Leftover,
    Queue,
    Secret,
    Stored,
    Zone,
)
from ops.deploy.ports import Region
from tests.fake_stacks import FakeStacks, Record

REGIONS = ("us-east-1", "us-west-2", "eu-central-1")
_NUMBERS = itertools.count(1)


@dataclass
class Trip:
    """The call that fails: the ``at``-th in ``region``, with ``fault``; ``after`` it for good."""

    region: str
    at: int
    fault: Callable[[], BaseException]
    dead: bool = False
    """From then on every call of every region fails: the process was killed."""


@dataclass
class Object:
    body: bytes
    etag: str
    at: float
    sha256: str = ""


@dataclass
class FakeCloud:
    """See the port Cloud."""

    switched_on: Sequence[str] = (*REGIONS, "eu-north-1")
    hosted: list[Zone] = field(default_factory=lambda: [Zone("Z0EXAMPLE", "example.com")])
    now: float = 1000.0
    trip: Trip | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.calls: dict[str, list[str]] = {}
        self.buckets: dict[str, dict[str, Object]] = {}
        self.secret_store: dict[str, dict[str, Any]] = {}
        self.invoked: list[tuple[str, dict[str, Any]]] = []
        self.quotas: dict[str, float] = {}
        self.lacking: dict[str, set[str]] = {}
        self.nodes: dict[str, list[Group]] = {}
        self.messages: dict[str, int] = {}
        self.kept: dict[str, list[Leftover]] = {}
        self.protected: dict[str, str] = {}
        self.tripped = False
        self._regions: dict[str, Region] = {}

    def hook(self, region: str, what: str) -> None:
        """Counts a call, and lets it fail where it is to."""
        with self.lock:
            told = self.calls.setdefault(region, [])
            told.append(what)
            trip = self.trip
            if trip is None:
                return
            hit = trip.region == region and len(told) == trip.at
            self.tripped = self.tripped or hit
            if hit or (self.tripped and trip.dead):
                raise trip.fault()

    def forget_calls(self) -> None:
        """Counts from nothing again, and nothing fails any more."""
        self.calls, self.trip, self.tripped = {}, None, False

    def identity(self) -> Identity:
        self.hook("", "identity")
        return Identity("123456789012", "arn:aws:iam::123456789012:user/ops")

    def regions(self) -> frozenset[str]:
        self.hook("", "regions")
        return frozenset(self.switched_on)

    def zones(self) -> Sequence[Zone]:
        self.hook("", "zones")
        return tuple(self.hosted)

    def region(self, name: str) -> Region:
        with self.lock:
            if name not in self._regions:
                self._regions[name] = _region(self, name)
            return self._regions[name]

    def stacks(self, region: str) -> FakeStacks:
        """The fake itself, to break it."""
        found = self.region(region).stacks
        assert isinstance(found, FakeStacks)
        return found

    def roots(self) -> list[tuple[str, Record]]:
        """The stacks that are there, with their regions, less those nested in others."""
        return [
            (region, record)
            for region in sorted(self._regions)
            for record in self.stacks(region).records
            if record.status != "DELETE_COMPLETE" and not record.nested
        ]

    def picture(self) -> dict[str, Any]:
        """All that a deploy leaves behind, less what is random or tells of the way there."""
        changing = ("EdgeSecretVersion", "AvatarsUri")
        return {
            "stacks": {
                (region, one.name): (
                    one.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"),
                    sorted((name, held.kind) for name, held in one.resources.items()),
                    {k: v for k, v in one.parameters.items() if k not in changing},
                )
                for region, one in self.roots()
            },
            "objects": sorted(
                key
                for bucket in self.buckets.values()
                for key in bucket
                if not key.endswith(".json") or key.startswith("avatars/")
            ),
            "secrets": {name: sorted(one["in"]) for name, one in self.secret_store.items()},
            "migrated": bool(self.invoked),
        }


@dataclass
class _Part:
    cloud: FakeCloud
    name: str

    def _call(self, what: str) -> None:
        self.cloud.hook(self.name, what)


class FakeObjects(_Part):
    def sha256(self, bucket: str, key: str) -> str | None:
        self._call("sha256")
        found = self._bucket(bucket).get(key)
        return found.sha256 if found and found.sha256 else None

    def put_file(self, bucket: str, key: str, source: Path | bytes, sha256: str) -> None:
        self._call("put_file")
        body = source if isinstance(source, bytes) else source.read_bytes()
        if hashlib.sha256(body).hexdigest() != sha256:
            raise CloudError("BadDigest", f"s3://{bucket}/{key}: the digest is another")
        self._bucket(bucket)[key] = self._object(body, sha256)

    def read(self, bucket: str, key: str) -> Stored | None:
        self._call("read")
        found = self._bucket(bucket).get(key)
        return Stored(found.body, found.etag, self.cloud.now - found.at) if found else None

    def write_if(self, bucket: str, key: str, body: bytes, etag: str | None) -> str:
        self._call("write_if")
        held = self._bucket(bucket)
        there = held[key].etag if key in held else None
        if there != etag:
            raise Conflict("PreconditionFailed", f"s3://{bucket}/{key}: another was there first")
        held[key] = self._object(body)
        return held[key].etag

    def remove_if(self, bucket: str, key: str, etag: str) -> None:
        self._call("remove_if")
        held = self._bucket(bucket)
        if key not in held or held[key].etag != etag:
            raise Conflict("PreconditionFailed", f"s3://{bucket}/{key}: another is there")
        del held[key]

    def _object(self, body: bytes, sha256: str = "") -> Object:
        return Object(body, f"e{next(_NUMBERS)}", self.cloud.now, sha256)

    def _bucket(self, name: str) -> dict[str, Object]:
        if name not in self.cloud.buckets:
            raise CloudError("NoSuchBucket", f"s3://{name}: no such bucket")
        return self.cloud.buckets[name]


class FakeSecrets(_Part):
    def current(self, name: str) -> Secret | None:
        self._call("secret")
        one = self.cloud.secret_store.get(name)
        return Secret(one["value"], one["version"]) if one and self.name in one["in"] else None

    def create(self, name: str, value: str, description: str) -> None:
        self._call("create_secret")
        if name in self.cloud.secret_store:
            raise Conflict("ResourceExistsException", f"{name} is there")
        version = f"{next(_NUMBERS):032d}"
        kept = {"value": value, "version": version, "in": [self.name], "primary": self.name}
        self.cloud.secret_store[name] = kept

    def replicas(self, name: str) -> Sequence[str]:
        self._call("replicas")
        one = self.cloud.secret_store[name]
        return [region for region in one["in"] if region != one["primary"]]

    def replicate(self, name: str, regions: Sequence[str]) -> None:
        self._call("replicate")
        self.cloud.secret_store[name]["in"] += regions

    def delete(self, name: str) -> None:
        self._call("delete_secret")
        if self.cloud.secret_store.get(name, {}).get("primary") == self.name:
            del self.cloud.secret_store[name]


class FakeFunctions(_Part):
    def invoke(self, name: str, payload: Mapping[str, Any]) -> Any:
        self._call("invoke")
        self.cloud.invoked.append((name, dict(payload)))
        return {"key": "rk_made"} if payload["do"] == "create-key" else {"migrated": True}


class FakePools(_Part):
    def groups(self, cell: str) -> Sequence[Group]:
        self._call("groups")
        return tuple(self.cloud.nodes.get(cell, ()))

    def empty(self, group: str, instances: Sequence[str]) -> None:
        self._call("empty")
        self._change(group, lambda i: Instance(i.id, "Terminating:Wait", i.id not in instances
                                               and i.protected))  # fmt: skip

    def let_go(self, group: str, instance: str) -> None:
        self._call("let_go")
        self._change(group, lambda i: None if i.id == instance and not i.protected else i)

    def _change(self, group: str, change: Callable[[Instance], Instance | None]) -> None:
        for cell, groups in self.cloud.nodes.items():
            self.cloud.nodes[cell] = [
                Group(g.name, tuple(new for i in g.instances if (new := change(i))))
                if g.name == group
                else g
                for g in groups
            ]


class FakeQueues(_Part):
    """A queue whose resource is called …DeadQueue takes the dead letters of all others."""

    def describe(self, url: str) -> Queue:
        self._call("queue")
        dead = "dead" in url
        arn = f"arn:aws:sqs:{self.name}:1:{url}"
        stack = self.cloud.stacks(self.name)
        targets = [
            f"arn:aws:sqs:{self.name}:1:{held.physical_id}"
            for record in stack.records
            for held in record.resources.values()
            if held.kind == "AWS::SQS::Queue" and "dead" in held.physical_id
        ]
        return Queue(url, arn, self.cloud.messages.get(url, 0), "" if dead else targets[0])


class FakeLimits(_Part):
    def quota(self, service: str, code: str) -> float:
        self._call("quota")
        return self.cloud.quotas.get(code, self.cloud.quotas.get(f"{self.name} {code}", 10_000.0))

    def offered(self, types: Sequence[str]) -> frozenset[str]:
        self._call("offered")
        return frozenset(types) - self.cloud.lacking.get(self.name, set())

    def networks(self) -> int:
        self._call("networks")
        return 1

    def addresses(self) -> int:
        self._call("addresses")
        return 0


class FakeLeftovers(_Part):
    def of(self, stack: str) -> Sequence[Leftover]:
        self._call("leftovers")
        return tuple(self.cloud.kept.get(stack, ()))

    def delete(self, one: Leftover) -> None:
        self._call(f"delete {one.kind}")
        for held in self.cloud.kept.values():
            if one in held:
                held.remove(one)

    def unprotect_database(self, name: str) -> None:
        self._call("unprotect_database")
        self.cloud.protected.pop(name, None)


def _region(cloud: FakeCloud, name: str) -> Region:
    def read(url: str) -> str:
        host, _, key = url.removeprefix("https://").partition("/")
        return cloud.buckets[host.partition(".")[0]][key].body.decode()

    stacks = FakeStacks(name, lambda what: cloud.hook(name, what), read)

    def made(kind: str, physical: str, stack: str) -> None:
        if kind == "AWS::S3::Bucket":
            cloud.buckets.setdefault(physical, {})
            cloud.kept.setdefault(stack, []).append(Leftover("bucket", physical))
        if kind == "AWS::RDS::DBInstance":
            cloud.protected[physical] = stack

    def deleted(record: Record) -> str | None:
        cell = record.parameters.get("CellName", "")
        if record.name != f"rapido-{cell}":
            return None
        if record.name in cloud.protected.values():
            return "its database is protected from deletion"
        held = any(group.instances for group in cloud.nodes.get(cell, ()))
        return "it has instances that are protected from scale-in" if held else None

    stacks.on_made, stacks.on_deleted = made, deleted
    return Region(
        name, stacks, FakeObjects(cloud, name), FakeSecrets(cloud, name),
        FakeFunctions(cloud, name), FakePools(cloud, name), FakeQueues(cloud, name),
        FakeLimits(cloud, name), FakeLeftovers(cloud, name),
    )  # fmt: skip


@dataclass
class FakeWeb:
    """HTTPS to what the cloud serves: an address answers once its stack stands."""

    cloud: FakeCloud
    sick: set[str] = field(default_factory=set)
    used: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    free_slot: bool = True

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        self.asked.append((method, url))
        base, _, path = url.removeprefix("https://").partition("/")
        if base in self.sick or f"https://{base}" not in self._addresses():
            return Answer(0, "ConnectError: it does not answer")
        if path == "health/ready":
            return Answer(200, "{}")
        if path == "openapi.json":
            return Answer(200, '{"openapi": "3.1.0"}')
        if path == "api/v1/fleet":
            self.used = max(0, self.used - 1)
            told = f'"used": {self.used}, "slots": 24, "workers": 2, "workers_alive": 2'
            return Answer(200, f"{{{told}}}")
        if path == "api/v1/workers":
            return Answer(200, '{"workers": [{"worker_id": "i-1"}]}')
        if method == "POST" and path == "api/v1/sessions":
            if not self.free_slot:
                return Answer(503, "no slot is free")
            return Answer(201, '{"session_id": "s-1", "region": "us-east-1"}')
        return Answer(204, "")

    def _addresses(self) -> set[str]:
        found = set()
        for region in self.cloud.switched_on:
            for record in self.cloud.stacks(region).records:
                if record.status.endswith("_COMPLETE") and "Url" in record.outputs:
                    found.add(record.outputs["Url"])
        return found


def expired() -> CredentialsExpired:
    """As AWS says it."""
    return CredentialsExpired("ExpiredToken", "the security token included in it is expired")
