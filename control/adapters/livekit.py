"""LiveKit: tokens made offline, small calls, and the signature of its webhooks.

What most functions do not need loads where it is used: urllib for a call, PyJWT, which loads an
HTTP client, for a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from control.services.ports import BadSignature

if TYPE_CHECKING:
    from urllib.request import Request

_CALL_TIMEOUT_S = 2.0
_LEEWAY_S = 10
_MOST_PARTICIPANTS = 50
_EMPTY_TIMEOUT_S = 300
_DEPARTURE_TIMEOUT_S = 90  # longer than a worker waits for a learner to come back


class LivekitRooms:
    """``secret`` gives the API key and its secret when first needed."""

    def __init__(self, secret: Callable[[str], str]) -> None:
        self._secret = secret

    def token(
        self,
        identity: str,
        room: str,
        ttl_s: float,
        *,
        name: str | None = None,
        kind: Literal["learner", "voice", "avatar"] = "learner",
    ) -> str:
        """A room token; ``voice`` carries the attribute that the avatar obeys."""
        grants = {
            "room": room,
            "roomJoin": True,
            "canPublish": True,
            "canSubscribe": True,
            "canPublishData": True,
            "canUpdateOwnMetadata": False,
        }
        claims: dict[str, Any] = {"sub": identity, "name": name or identity, "video": grants}
        claims["roomConfig"] = {
            "emptyTimeout": _EMPTY_TIMEOUT_S,
            "departureTimeout": _DEPARTURE_TIMEOUT_S,
            "maxParticipants": _MOST_PARTICIPANTS,
        }
        if kind == "voice":
            claims["attributes"] = {"rapido.voice": "true"}
        if kind == "avatar":
            claims["kind"] = "agent"
        return self._sign(claims, ttl_s)

    def close(self, url: str, room: str) -> None:
        """Deletes the room, whoever is in it; a room that is gone or a server that is away is no
        error: LiveKit closes empty rooms by itself."""
        from urllib.request import Request

        token = self._sign({"video": {"roomCreate": True, "roomAdmin": True, "room": room}}, 60)
        request = Request(  # noqa: S310
            _http(url) + "/twirp/livekit.RoomService/DeleteRoom",
            json.dumps({"room": room}).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        _answers(request)

    def probe(self, url: str) -> bool:
        """Does the server answer?"""
        from urllib.request import Request

        return _answers(Request(_http(url)))  # noqa: S310

    def verify_webhook(self, body: bytes, authorization: str) -> dict[str, Any]:
        """The event, when LiveKit signed exactly this body. Raises BadSignature."""
        import jwt

        token = authorization.removeprefix("Bearer ")
        try:
            claims = jwt.decode(
                token,
                self._secret("livekit_api_secret"),
                algorithms=["HS256"],
                issuer=self._secret("livekit_api_key"),
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss"]},
            )
        except jwt.PyJWTError as error:
            raise BadSignature(f"The webhook's token is refused ({error})") from None
        wanted = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if claims.get("sha256") != wanted:
            raise BadSignature("The webhook's body is not the one that was signed")
        event = json.loads(body)
        if not isinstance(event, dict):
            raise BadSignature("The webhook's body is no event")
        return event

    def _sign(self, claims: dict[str, Any], ttl_s: float) -> str:
        import jwt

        now = int(time.time())
        full = {
            "iss": self._secret("livekit_api_key"),
            "nbf": now - _LEEWAY_S,
            "exp": now + int(ttl_s),
            **claims,
        }
        return jwt.encode(full, self._secret("livekit_api_secret"), algorithm="HS256")


def _http(url: str) -> str:
    return "http" + url.removeprefix("ws")


def _answers(request: Request) -> bool:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(request, timeout=_CALL_TIMEOUT_S):  # noqa: S310
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False
