"""The cell's tokens: made for this worker, for one call, and short."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from typing import Any

import jwt

_LONGEST_S = 60
_LEEWAY_S = 10


class Unauthorized(Exception):
    """The token is not accepted; the message says why."""


@dataclass(frozen=True)
class Caller:
    """What a token says; a session's calls name it and its generation."""

    session_id: str | None
    generation: int | None


def decode_key(key: str) -> bytes:
    """The bytes of a base64url key, padded or not. Raises ValueError."""
    try:
        return base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except binascii.Error as error:
        raise ValueError(f"the registration's key is not base64url ({error})") from None


def check(authorization: str, key: bytes | None, worker_id: str) -> Caller:
    """Who calls. Raises Unauthorized."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("send Authorization: Bearer with the cell's token")
    if key is None:
        raise Unauthorized("this worker has not registered yet; call again when it has")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["HS256"],
            audience=worker_id,
            leeway=_LEEWAY_S,
            options={"require": ["aud", "exp"]},
        )
    except jwt.PyJWTError as error:
        raise Unauthorized(f"the token is refused: {error}") from None
    if claims["exp"] > time.time() + _LONGEST_S + _LEEWAY_S:
        raise Unauthorized(f"the token lives longer than {_LONGEST_S} s; make a fresh one a call")
    session, generation = claims.get("sub"), claims.get("generation")
    return Caller(
        session if isinstance(session, str) else None,
        generation if isinstance(generation, int) and not isinstance(generation, bool) else None,
    )
