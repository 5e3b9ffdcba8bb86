"""What the store's hashes say, as the use cases want it."""

from __future__ import annotations

import json
from typing import Any

from control.domain import placement
from control.domain.session import Session


def worker(name: str, raw: str, told: str, kinds: dict[str, str]) -> dict[str, Any]:
    """From `w`, `facts` and `hw`."""
    _, url, text = told.split(" ", 2)
    facts = json.loads(text)
    kind = json.loads(kinds[facts.pop("hw")])
    return {
        "worker_id": name,
        **facts,
        "url": url,
        "hardware": kind,
        **text_of_worker(raw),
    }


def text_of_worker(raw: str) -> dict[str, Any]:
    """From `w`. A text of before the last deploy may have no order: 0."""
    slots, late, registration, state, *order, avatars = raw.split("|")
    return {
        "avatars": avatars.strip(",").replace("~", ""),
        "slots": int(slots),
        "late": float(late),
        "reg": int(registration),
        "state": state,
        "order": placement.order_of(order[0] if order else "0"),
    }


def session(session_id: str, fields: dict[str, str], region: str) -> Session:
    """From `s:SID`; ``region`` is the cell's, for what was adopted without a record."""
    given = json.loads(fields["given"])
    has_room = "livekit_url" in given and not given.get("own_room")
    return Session(
        session_id=session_id,
        tenant=fields["tenant"],
        lesson_id=given.get("lesson_id", ""),
        avatar=fields["avatar"],
        status=fields["status"],
        region=given.get("region", region),
        worker_id=fields.get("worker_id"),
        worker_url=fields.get("worker_url", ""),
        worker_registration=int(fields.get("worker_registration", 0)),
        generation=int(fields.get("generation", 0)),
        placements=int(fields.get("placements", 0)),
        created_ms=int(fields["created_ms"]),
        expires_ms=int(fields["expires_ms"]),
        ended_ms=int(fields["ended_ms"]) if "ended_ms" in fields else None,
        reason=fields.get("reason"),
        room=session_id if has_room else None,
        livekit_url=given.get("livekit_url", ""),
        livekit_region=given.get("livekit_region"),
        learner_identity=given.get("learner_identity", "learner"),
        learner_name=given.get("learner_name"),
        own_room_token=fields.get("own_room_token"),
        agent_identity=given.get("agent_identity"),
        correlation_id=given.get("correlation_id"),
        execution=_execution(given.get("execution", session_id), fields.get("round")),
        task_token=fields.get("task_token"),
        class_id=given.get("class_id"),
        why=_why(fields) if fields.get("heads") else {},
    )


def _execution(first: str, rounds: str | None) -> str:
    """An execution's name is used once: each return to the queue makes a new one."""
    return first if rounds is None else f"{first}-{rounds}"


def _why(fields: dict[str, str]) -> dict[str, Any]:
    """What the last choice saw, in the numbers the store had."""
    chosen, generation, store_ms, *held = fields["chose"].split("|")
    return {
        "chosen": chosen,
        "generation": int(generation),
        "store_ms": int(store_ms),
        "held": bool(held),
        "distance": float(fields["distance"]),
        "margin": placement.AVATAR_MARGIN,
        "excluded": fields["left_out"].split(),
        "candidates": [_head(one) for one in fields["heads"].split(" ")],
    }


def _head(text: str) -> dict[str, Any]:
    worker_id, known, used, starts, holds = text.split(":")
    slots, late, _, _, *order = known.split("|")
    return {
        "worker_id": worker_id,
        "slots": int(slots),
        "used": int(used),
        "late": float(late),
        "starts": int(starts),
        "holds_avatar": holds == "1",
        "order": float(order[0]) if order else 0.0,
    }
