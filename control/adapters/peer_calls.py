"""HTTP to other cells, signed with SigV4 as this cell.

http.client and botocore load at the first call: a request that stays here makes none.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from control.domain.breaker import Breaker
from control.services.peer_ports import Peer, PeerAnswer, PeerAway

_MOST_BYTES = 1_000_000
_RENEW_BEFORE_S = 300.0


class HttpPeerCalls:
    """``credentials`` gives botocore credentials.

    The breakers live as long as the process: for each peer one for summaries, one for hand-overs,
    one for keys, and so on, since a peer may answer one and hang at another.
    """

    def __init__(self, credentials: Callable[[], Any]) -> None:
        self._credentials = credentials
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def call(
        self,
        peer: Peer,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        signed: bool,
    ) -> PeerAnswer:
        """Raises PeerAway with what went wrong, at once while the peer is left alone."""
        from http.client import HTTPException

        ends_s = time.monotonic() + timeout_s
        kind = peer.cell, _kind(path, signed)
        breaker = self._breakers.get(kind, Breaker())
        if not breaker.allows(time.monotonic()):
            raise PeerAway(f"{peer.cell} failed again and again and is left alone for a while")
        try:
            sent = {"content-type": "application/json", **headers}
            if signed:
                sent = self._sign(peer, method, path, body, sent)
            answer = _exchange(peer, method, path, body, sent, ends_s)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            self._breakers[kind] = breaker.failed(time.monotonic(), random.random())  # noqa: S311
            raise PeerAway(f"{peer.cell}: {type(error).__name__} {error}"[:300]) from None
        self._breakers[kind] = breaker.succeeded()
        return answer

    def _sign(
        self, peer: Peer, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> dict[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method, peer.url + path, headers, body or b"")
        SigV4Auth(self._credentials(), "execute-api", peer.region).add_auth(request)
        return dict(request.headers)


def _kind(path: str, signed: bool) -> str:
    """``cell/peers``, ``cell/sessions``, ``cell/keys`` of a cell's own calls; ``sessions`` and the
    like of those that it passes on."""
    return "/".join(path.partition("?")[0].split("/")[3 : 5 if signed else 4])


def _exchange(
    peer: Peer,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    ends_s: float,
) -> PeerAnswer:
    """Follows no redirect. Raises OSError, HTTPException, ValueError."""
    from http.client import HTTPConnection, HTTPSConnection

    url = urlsplit(peer.url)
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_left(ends_s))
    try:
        connection.request(method, url.path + path, body, dict(headers))
        socket = connection.sock  # the connection forgets it where the answer ends with it
        socket.settimeout(_left(ends_s))
        response = connection.getresponse()
        raw = bytearray()
        # a peer that sends byte after byte does not keep us past the deadline
        while chunk := response.read1(65_536):
            raw += chunk
            if len(raw) > _MOST_BYTES:
                raise ValueError(f"answers more than {_MOST_BYTES} bytes")
            if not response.isclosed():
                socket.settimeout(_left(ends_s))
    finally:
        connection.close()
    if response.status >= 500 and response.status != 503:
        raise ValueError(f"answers {response.status}")
    found = json.loads(raw) if raw else {}
    if not isinstance(found, dict) or response.status < 200:
        raise ValueError(f"answers {response.status} without a JSON object")
    names = {name.lower(): value for name, value in response.getheaders()}
    return PeerAnswer(response.status, found, names)


def _left(ends_s: float) -> float:
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("no answer in time")
    return left_s


class PeerCredentials:
    """As whom this cell signs: the role ``RAPIDO_PEER_ROLE_ARN``, taken with the session name
    ``cell-<cell>`` that its trust asks for; on one machine a key pair from the environment."""

    def __init__(self, cell: str) -> None:
        self._cell = cell
        self._found: Any = None
        self._until_s = 0.0

    def __call__(self) -> Any:
        """botocore credentials. Raises OSError where the role cannot be had."""
        if self._found is None or time.time() > self._until_s:
            self._found, self._until_s = self._fetch()
        return self._found

    def _fetch(self) -> tuple[Any, float]:
        from botocore.credentials import Credentials
        from botocore.exceptions import BotoCoreError, ClientError

        key = os.environ.get("RAPIDO_PEER_ACCESS_KEY")
        if key:
            return Credentials(key, os.environ["RAPIDO_PEER_SECRET_KEY"]), float("inf")
        from control.adapters.aws import client

        arn = os.environ.get("RAPIDO_PEER_ROLE_ARN", "")
        try:
            answer = client("sts").assume_role(RoleArn=arn, RoleSessionName=f"cell-{self._cell}")
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the role {arn!r} of this cell cannot be had ({error})") from error
        given = answer["Credentials"]
        pair = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        return pair, given["Expiration"].timestamp() - _RENEW_BEFORE_S
