"""Calls about another cell's sessions, or what the home cell keeps, passed on to that cell."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from control.domain.errors import home_away, unavailable
from control.domain.session import cell_of
from control.services.peer_ports import Peer, PeerAnswer, PeerAway
from control.services.ports import Cell

WITHIN_S = 2.5
"""Everything about one hand-over, or one forwarded call: tries, pauses, all peers."""
TRY_S = 1.2
"""Four round trips over an ocean and a placement; a second try has as long."""
PAUSE_S = 0.05, 0.15
TRIES = 3
"""As many failures make its breaker leave a peer alone."""
HOME_WITHIN_S = 10.0
HOME_TRY_S = 4.5
"""The home's database may take three seconds, and then says itself that it is away."""
HOP = "x-rapido-hop"
EDGE = "x-rapido-edge"
"""What the edge sends to show that a call came through it."""
_PASSED = ("content-type", "retry-after", "location", "www-authenticate")


def forward(
    cell: Cell,
    session_id: str,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
) -> PeerAnswer | None:
    """What the session's own cell answers to this call; None where that is us or nobody we know.

    The owner checks the caller's key itself. A call that made its hop stays: an address that leads
    back here must not go in circles. Raises unavailable.
    """
    owner = cell_of(session_id)
    peer = next((one for one in cell.peers if one.cell == owner), None)
    if peer is None or owner == cell.name or HOP in headers:
        return None
    answer = _pass(cell, peer, method, path, body, headers, WITHIN_S, TRY_S)
    if answer is None:
        raise unavailable(f"cell {peer.cell}")
    return answer


def to_home(
    cell: Cell, what: str, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> PeerAnswer:
    """What the home cell answers to this call, which must do no harm when it comes twice.

    Raises unavailable, as one that another cell thought to be ours.
    """
    peer = next((one for one in cell.peers if one.cell == cell.home), None)
    answer = None
    if peer is not None and HOP not in headers:
        answer = _pass(cell, peer, method, path, body, headers, HOME_WITHIN_S, HOME_TRY_S)
    if answer is None:
        raise home_away(what, cell.home)
    return answer


def _pass(
    cell: Cell,
    peer: Peer,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    within_s: float,
    try_s: float,
) -> PeerAnswer | None:
    """None: there was no answer in time."""
    passed = {
        name: headers[name]
        for name in ("authorization", "content-type", "x-correlation-id", EDGE)
        if name in headers
    } | {HOP: "1"}
    ends_s = time.monotonic() + within_s
    for _ in range(TRIES):
        if (left_s := ends_s - time.monotonic()) <= 0:
            break
        try:
            answer = cell.peer_calls.call(
                peer, method, path, body or None, passed, min(try_s, left_s), signed=False
            )
        except PeerAway:
            time.sleep(min(random.uniform(*PAUSE_S), max(0.0, ends_s - time.monotonic())))  # noqa: S311
        else:
            return passed_on(answer)
    return None


def passed_on(answer: PeerAnswer) -> PeerAnswer:
    """A peer's answer with the headers that are the caller's business."""
    kept = {name: value for name, value in answer.headers.items() if name in _PASSED}
    return PeerAnswer(answer.status, answer.body, kept)
