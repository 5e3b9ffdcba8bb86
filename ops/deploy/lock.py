"""One deploy of a stage at a time: an object in the home's bucket, renewed while it lasts."""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ops.deploy.facts import CloudError, Conflict, Stored
from ops.deploy.ports import Objects

LEASE_S = 180.0
RENEW_S = 45.0


class Locked(Exception):
    """Somebody else deploys; the message says who, since when, and for how long at most."""


def holder() -> str:
    """Who holds it, as another operator would ask for them."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"


class Lock:
    """A context. ``lost`` is called once, from another thread, when it went to somebody else.

    Its age is told by the store's clock alone: operators' clocks may differ.
    """

    def __init__(
        self, objects: Objects, bucket: str, key: str, who: str, lost: Callable[[], None]
    ) -> None:
        self._objects = objects
        self._bucket = bucket
        self._key = key
        self._body = json.dumps({"holder": who}).encode()
        self._lost = lost
        self._etag = ""
        self._done = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Lock:
        """Raises Locked, CloudError."""
        there = self._objects.read(self._bucket, self._key)
        if there is not None and there.age_s < LEASE_S:
            raise Locked(_told(there))
        try:
            self._etag = self._objects.write_if(
                self._bucket, self._key, self._body, there.etag if there else None
            )
        except Conflict as error:
            there = self._objects.read(self._bucket, self._key)
            raise Locked(_told(there) if there else "another deploy began just now") from error
        self._renewing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._renewing.join()
        # Where it went to another, or AWS is not reached any more, there is nothing to do: the
        # lease runs out, and what came of the deploy is what has to be told.
        with suppress(CloudError):
            self._objects.remove_if(self._bucket, self._key, self._etag)

    def renew(self) -> bool:
        """False once it is somebody else's."""
        try:
            self._etag = self._objects.write_if(self._bucket, self._key, self._body, self._etag)
        except Conflict:
            return False
        except CloudError:
            return True  # the next try comes before the lease has run out
        return True

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S):
            if not self.renew():
                self._lost()
                return


def _told(there: Stored) -> str:
    try:
        who = str(json.loads(there.body)["holder"])
    except (ValueError, KeyError, TypeError):
        who = "somebody"
    left_s = max(1, round(LEASE_S - there.age_s))
    return (
        f"another deploy of this stage is under way, by {who}: wait for its end; "
        f"if it died, its lock is free in {left_s} s"
    )
