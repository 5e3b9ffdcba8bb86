"""The one exception of this plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livekit.agents import APIError

TYPE_PREFIX = "urn:rapido:problem:"
_TRANSIENT = ("unavailable", "too-many-requests")


class RapidoError(APIError):
    """The cell refused, or the avatar did not come.

    ``status`` is the cell's HTTP status, None where no answer is behind it. ``type`` is stable:
    programs branch on it; it is the cell's (docs/http-api.md) or one of ``unreachable``,
    ``queue-timeout``, ``start-timeout`` and ``avatar-failed``. ``detail`` says what to do.
    """

    def __init__(
        self,
        what: str,
        type: str,  # noqa: A002 - the name RFC 9457 gives it
        detail: str,
        *,
        status: int | None = None,
        retry_after_s: float = 0.0,
        body: object | None = None,
    ) -> None:
        answered = type if status is None else f"{status} {TYPE_PREFIX}{type}"
        transient = status is not None and (type in _TRANSIENT or status in (500, 502, 504))
        super().__init__(
            f"{what}: {answered}: {detail}",
            body=body,
            retryable=type == "unreachable" or transient,
        )
        self.status = status
        self.type = type
        self.detail = detail
        self.retry_after_s = retry_after_s


def refusal(what: str, status: int, headers: Mapping[str, str], problem: Any) -> RapidoError:
    """What the cell's problem+json says, in one line; anything else is told by its status."""
    if not isinstance(problem, dict):
        problem = {}
    kind = str(problem.get("type", "")).removeprefix(TYPE_PREFIX) or "no-problem-given"
    detail = str(problem.get("detail") or "the answer is no problem+json; is this a Rapido cell?")
    for fault in problem.get("errors") or ():
        detail += f" {fault.get('field')}: {fault.get('fault')}; {fault.get('remedy')}."
    if correlation := problem.get("correlation_id"):
        detail += f" (correlation id {correlation})"
    try:
        retry_after_s = float(headers.get("Retry-After", 0.0))
    except ValueError:
        retry_after_s = 0.0
    return RapidoError(what, kind, detail, status=status, retry_after_s=retry_after_s, body=problem)
