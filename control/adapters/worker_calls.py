"""Calls to workers, each carrying a short-lived token only that worker accepts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from control.contracts.problem import TYPE_PREFIX
from control.domain.session import Session
from control.services.ports import WorkerRefused, WorkerUnable

if TYPE_CHECKING:
    from urllib.request import Request

_TOKEN_TTL_S = 60
_START_TIMEOUT_S = 4.0
_STOP_TIMEOUT_S = 1.0
_UNABLE = re.compile(re.escape(TYPE_PREFIX) + '(no-slot|draining)"')


class HttpWorkerCalls:
    """A worker's key is derived from the cell's root key, its name and its registration."""

    def __init__(self, secret: Callable[[str], str]) -> None:
        self._secret = secret

    def key(self, worker_id: str, registration: int) -> str:
        """base64url of HMAC-SHA256(root, "worker:registration")."""
        return base64.urlsafe_b64encode(self._key(worker_id, registration)).decode()

    def start(self, session: Session, body: dict[str, Any]) -> None:
        """Raises WorkerRefused with the worker's own words; WorkerUnable, one of these, where it
        takes nobody or does not answer."""
        from urllib.error import HTTPError
        from urllib.request import urlopen

        at = datetime.fromtimestamp(body["expires_at"], UTC).isoformat()
        data = json.dumps({**body, "expires_at": at}).encode()
        request = self._request(session, "POST", "/v1/sessions", data)
        try:
            with urlopen(request, timeout=_START_TIMEOUT_S):  # noqa: S310
                return
        except HTTPError as error:
            said = error.read(2000).decode("utf-8", "replace")
            kind = WorkerUnable if _UNABLE.search(said) else WorkerRefused
            raise kind(f"{session.worker_id} answered {error.code}: {said}") from None
        except OSError as error:
            raise WorkerUnable(f"{session.worker_id} does not answer ({error})") from None

    def stop(self, session: Session) -> None:
        """A courtesy that saves a heartbeat's time: a worker that misses it finds its lease revoked
        in the next reply."""
        from urllib.request import urlopen

        path = f"/v1/sessions/{session.session_id}"
        try:
            request = self._request(session, "DELETE", path, None)
            with urlopen(request, timeout=_STOP_TIMEOUT_S):  # noqa: S310
                return
        except OSError:
            return

    def _request(self, session: Session, method: str, path: str, data: bytes | None) -> Request:
        from urllib.request import Request

        import jwt

        claims = {
            "aud": session.worker_id,
            "sub": session.session_id,
            "generation": session.generation,
            "exp": int(time.time()) + _TOKEN_TTL_S,
        }
        key = self._key(session.worker_id or "", session.worker_registration)
        headers = {
            "Authorization": f"Bearer {jwt.encode(claims, key, algorithm='HS256')}",
            "Content-Type": "application/json",
        }
        url = session.worker_url + path
        return Request(url, data, headers, method=method)  # noqa: S310

    def _key(self, worker_id: str, registration: int) -> bytes:
        root = self._secret("worker_root_key").encode()
        return hmac.new(root, f"{worker_id}:{registration}".encode(), hashlib.sha256).digest()
