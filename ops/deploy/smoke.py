"""Whether the address that the operator is given works, tried from this machine."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from ops.deploy.facts import Answer
from ops.deploy.pace import Pace
from ops.deploy.ports import Web
from ops.deploy.progress import Tell, step

_NO_KEY = (
    "no session was tried, for there was no --key: rapido key create --tenant NAME --role client "
    "makes one"
)
PATIENCE_POLLS = 300
"""A new name has to spread: five minutes, at a look a second."""


@dataclass(frozen=True)
class Smoke:
    """``ok`` where the address answers as it should; ``notes`` are for the operator."""

    ok: bool
    notes: tuple[str, ...]


def smoke(url: str, key: str | None, web: Web, tell: Tell, pace: Pace) -> Smoke:
    """Health, the description of the API, and with a key one session from start to end."""
    health = _until_ok(web, f"{url}/health/ready", pace)
    _say(tell, "GET /health/ready", health)
    if health.status != 200:
        return Smoke(False, (f"{url}/health/ready: {_told(health)}; try it again in some minutes",))
    described = web.call("GET", f"{url}/openapi.json")
    _say(tell, "GET /openapi.json", described)
    if described.status != 200 or not _is_openapi(described.body):
        fault = f"{url}/openapi.json: {_told(described)}; see the log of the cell's API function"
        return Smoke(False, (fault,))
    if key is None:
        return Smoke(True, (_NO_KEY,))
    return _session(url, key, web, tell)


def _session(url: str, key: str, web: Web, tell: Tell) -> Smoke:
    headers = {"Authorization": f"Bearer {key}"}
    asked = {"lesson_id": f"smoke-{uuid.uuid4().hex[:12]}", "wait": False}
    answer = web.call("POST", f"{url}/api/v1/sessions", headers, asked)
    _say(tell, "POST /api/v1/sessions", answer)
    if answer.status == 503:
        return Smoke(True, ("no worker has a free slot yet; see rapido status",))
    if answer.status not in (200, 201):
        return Smoke(False, (f"a session did not start: {_told(answer)}",))
    session = json.loads(answer.body)
    ended = web.call("DELETE", f"{url}/api/v1/sessions/{session['session_id']}", headers)
    _say(tell, "DELETE /api/v1/sessions/…", ended)
    placed = f"a session was placed in {session['region']}"
    if ended.status != 204:
        return Smoke(False, (f"{placed} and did not end: {_told(ended)}",))
    return Smoke(True, (f"{placed} and ended",))


def _until_ok(web: Web, url: str, pace: Pace) -> Answer:
    answer = web.call("GET", url)
    for _ in range(PATIENCE_POLLS):
        if answer.status == 200:
            break
        pace.wait()
        answer = web.call("GET", url)
    return answer


def _is_openapi(body: str) -> bool:
    try:
        return str(json.loads(body)["openapi"]).startswith("3.")
    except (ValueError, KeyError, TypeError):
        return False


def _told(answer: Answer) -> str:
    return f"{answer.status or 'no answer'} {answer.body[:200]}".strip()


def _say(tell: Tell, what: str, answer: Answer) -> None:
    step(tell, "smoke", what, str(answer.status or "no answer"))
