"""Calls that only the home cell can answer, and any cell takes."""

from __future__ import annotations

from urllib.parse import urlencode

from control.entrypoints.http import Answer, Call, passed_on, to_pass_on
from control.services import forwarding


def by_home(call: Call, what: str, method: str, path: str, body: bytes = b"") -> Answer | None:
    """What the home cell answers; None where that is us. Raises unavailable."""
    if call.cell.name == call.cell.home:
        return None
    asked = f"{path}?{urlencode(call.query)}" if call.query else path
    headers = to_pass_on(call.headers, call.correlation_id)
    return passed_on(forwarding.to_home(call.cell, what, method, asked, body, headers))
