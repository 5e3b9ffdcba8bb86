"""Which LiveKit server a session's room lives on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from control.domain.geography import Point, rtt_ms


@dataclass(frozen=True)
class LivekitServer:
    """One LiveKit deployment; a room lives on one of them."""

    region: str
    url: str
    at: Point


def nearest_server(
    servers: Sequence[LivekitServer],
    learner: Point | None,
    worker: Point,
    failed: Collection[str] = (),
) -> LivekitServer:
    """The server with the smallest sum of both ways: learner to server and server to worker.

    Regions whose last probes failed are left out, unless all did: then a probe may be wrong, and a
    room somewhere is better than none. Ties go to the first named. Raises ValueError of no server.
    """
    if not servers:
        raise ValueError("RAPIDO_LIVEKIT names no server; configure at least one")
    able = [server for server in servers if server.region not in failed] or list(servers)
    return min(
        able,
        key=lambda server: (
            rtt_ms(server.at, worker) + (rtt_ms(learner, server.at) if learner else 0.0)
        ),
    )
