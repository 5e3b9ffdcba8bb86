"""The records as a cell that does not keep them has them: the home cell is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from control.domain.errors import unavailable
from control.services.peer_ports import Peer, PeerAway, PeerCalls

_TRY_S = 2.0
_PING_S = 0.5


class HomeRecords:
    """Keys by a signed call to the home cell; snapshots go there through its queue, not by here."""

    def __init__(self, home: Peer, calls: PeerCalls) -> None:
        self._home = home
        self._calls = calls

    def key(self, digest: str) -> dict[str, Any] | None:
        """Raises unavailable."""
        answer = self._ask(f"/api/v1/cell/keys/{digest}")
        return dict(answer) if answer else None

    def ping(self) -> None:
        """Raises unavailable."""
        self._ask("/health", _PING_S)

    def upsert(self, rows: Sequence[dict[str, Any]]) -> None:
        del rows
        raise unavailable("records: they are written in the home cell")

    def attended(self, rows: Sequence[dict[str, Any]]) -> None:
        del rows
        raise unavailable("records: they are written in the home cell")

    def demanded(self, rows: Sequence[dict[str, Any]]) -> None:
        del rows
        raise unavailable("records: they are written in the home cell")

    def spent(self, rows: Sequence[dict[str, Any]]) -> None:
        del rows
        raise unavailable("records: they are written in the home cell")

    def add_key(self, digest: str, tenant: str, role: str) -> None:
        del digest, tenant, role
        raise unavailable("records: keys are made in the home cell")

    def _ask(self, path: str, within_s: float = _TRY_S) -> dict[str, Any] | None:
        try:
            answer = self._calls.call(self._home, "GET", path, None, {}, within_s, signed=True)
        except PeerAway as error:
            raise unavailable("records") from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise unavailable("records")
        return dict(answer.body)
