"""The function in one process, store and workflows answering from memory.

Run as ``python -m ops.bench.post_alone RESULT BLOCKS``; it writes {"post_us", "health_us"}.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from chalice.local import LambdaContext, LambdaEventConverter, RouteMatcher

from app import app
from control import bootstrap
from control.adapters.livekit import LivekitRooms
from control.domain.geography import REGIONS
from control.domain.rooms import LivekitServer
from control.domain.session import Session
from control.services.ports import Cell, Placed, Placing

BLOCK = 200
_KEY = "rk_" + "k" * 43


@dataclass
class MemoryStore:
    """The part of the store a POST needs: remembers what it was asked, answers placed."""

    sessions: dict[str, Session] = field(default_factory=dict)

    def key(self, digest: str) -> dict[str, Any]:
        """Any key is the school's."""
        del digest
        return {"tenant": "school", "role": "client"}

    def place(self, ask: Placing) -> Placed:
        """Placed, always."""
        now_ms = time.time_ns() // 1_000_000
        self.sessions[ask.session_id] = Session(
            session_id=ask.session_id,
            tenant=ask.tenant,
            lesson_id=ask.lesson_id,
            avatar=ask.avatar,
            status="starting",
            region="us-east-1",
            worker_id="w1",
            worker_url="http://10.0.0.1:8080",
            worker_registration=1,
            generation=1,
            placements=1,
            created_ms=now_ms,
            expires_ms=now_ms + 21_600_000,
            ended_ms=None,
            reason=None,
            room=ask.session_id,
            livekit_url=ask.livekit_url,
            livekit_region=ask.livekit_region,
            learner_identity=ask.learner_identity,
            learner_name=ask.learner_name,
            own_room_token=None,
            agent_identity=None,
            correlation_id=ask.correlation_id,
            execution=ask.execution or ask.session_id,
        )
        return Placed("placed", ask.session_id)

    def session(self, session_id: str) -> Session | None:
        """Read once, then forgotten, so that a long run holds no more than a short one."""
        return self.sessions.pop(session_id, None)

    def failed_livekit(self) -> frozenset[str]:
        """None failed."""
        return frozenset()


class MemoryWorkflows:
    """Acknowledges every start."""

    def start_setup(self, execution: str, given: dict[str, Any]) -> None:
        """Makes the input's JSON, as the real one does."""
        del execution
        json.dumps(given, sort_keys=True)


def _cell() -> Cell:
    at = REGIONS["us-east-1"]
    nobody = cast(Any, None)
    return Cell(
        name="bench",
        region="us-east-1",
        at=at,
        livekit=(LivekitServer("us-east-1", "wss://livekit.example.com", at),),
        store=cast(Any, MemoryStore()),
        workflows=cast(Any, MemoryWorkflows()),
        queue=nobody,
        records=nobody,
        rooms=LivekitRooms(lambda name: f"{name}-0123456789abcdef0123456789abcdef"),
        workers=nobody,
        peer_calls=nobody,
    )


def _event(method: str, path: str, body: bytes) -> dict[str, Any]:
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {_KEY}",
        "cloudfront-viewer-latitude": "40.7",
        "cloudfront-viewer-longitude": "-74.0",
    }
    convert = LambdaEventConverter(RouteMatcher([path]))
    event: dict[str, Any] = convert.create_lambda_event(method, path, headers, body)
    return event


def _cpu_us(events: list[dict[str, Any]], status: int) -> float:
    context = LambdaContext("ApiFunction", 1024, 15_000)
    began = time.process_time()
    answers = [app(event, context) for event in events]
    spent_us = (time.process_time() - began) / len(events) * 1e6
    wrong = [one for one in answers if one["statusCode"] != status]
    if wrong:
        raise RuntimeError(f"wanted {status}, got {wrong[0]}")
    return spent_us


def main(result: str, blocks: int) -> None:
    """Interleaves blocks of both requests; the first of each warms up."""
    cell = _cell()
    bootstrap.cell = lambda: cell  # type: ignore[assignment]
    post_us, health_us = [], []
    for block in range(blocks + 1):
        bodies = [
            {"lesson_id": f"{block}-{turn}", "user_location": {"latitude": 40, "longitude": -74}}
            for turn in range(BLOCK)
        ]
        posts = [_event("POST", "/api/v1/sessions", json.dumps(b).encode()) for b in bodies]
        gets = [_event("GET", "/health", b"") for _ in range(BLOCK)]
        post_us.append(_cpu_us(posts, 201))
        health_us.append(_cpu_us(gets, 200))
    spent = {
        "post_us": statistics.median(post_us[1:]),
        "health_us": statistics.median(health_us[1:]),
    }
    Path(result).write_text(json.dumps(spent))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
