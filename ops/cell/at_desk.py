"""What a person does to the machines of a local cell: ops/cell/aws_gaps/desk.py answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx


class DeskRefused(Exception):
    """The message says why, and what can be done."""


class AtDesk:
    """Of the cell with that local AWS. Each call raises DeskRefused and httpx.TransportError."""

    def __init__(self, aws_url: str) -> None:
        self._url = aws_url

    def capacity(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Pool → share of its launches that find none, from now on; all that are in force."""
        return self._call("PUT", "capacity", dict(shares))

    def interrupt(self, of: str, notice_s: float) -> dict[str, Any]:
        """EC2's notice to a spot node, or to one of that pool's; which, and when it is gone."""
        return self._call("POST", "interruptions", {"of": of, "notice_s": notice_s})

    def price(self, kind: str, zone: str, usd_h: float) -> dict[str, Any]:
        """A spot price from now on."""
        return self._call("PUT", "prices", {"type": kind, "zone": zone, "usd_h": usd_h})

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        answer = httpx.request(method, f"{self._url}/desk/{path}", json=body, timeout=10.0)
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise DeskRefused(answer.json()["detail"])
        if not answer.is_success:
            raise DeskRefused("the cell that is up has no pools: run rapido up --autoscale")
        found: dict[str, Any] = answer.json()
        return found
