"""The cell itself over HTTP: health, the fleet, LiveKit's webhook, OpenAPI."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chalice.app import Blueprint

from control.contracts.cell import (
    Fleet,
    FleetForecast,
    ForecastQuality,
    Health,
    Ready,
    WorkerPage,
    WorkerView,
)
from control.contracts.worker import Hardware, WorkerState
from control.domain.errors import Fault, invalid
from control.entrypoints.http import Answer, Call, endpoint
from control.services import foresight, readiness, sessions, workers
from control.version import __version__

blueprint = Blueprint(__name__)
OPENAPI = Path(__file__).parent / "openapi.json"
_NEEDED = ("store", "workflows")


@endpoint(blueprint, "GET", "/health", auth="anyone", answers={200: Health})
def health(call: Call) -> Answer:
    """The process answers; nothing else is touched."""
    return Answer(200, Health(cell=call.cell.name, version=__version__))


@endpoint(blueprint, "GET", "/health/ready", auth="anyone", answers={200: Ready, 503: Ready})
def health_ready(call: Call) -> Answer:
    """Whether new sessions can be had here; the records may be away without harm."""
    state = readiness.ready(call.cell)
    fit = all(state[name] == "ok" for name in _NEEDED)
    body = Ready(status="ready" if fit else "unready", cell=call.cell.name, dependencies=state)
    return Answer(200 if fit else 503, body)


@endpoint(blueprint, "GET", "/api/v1/workers", auth="operator", answers={200: WorkerPage})
def list_workers(call: Call) -> Answer:
    """All workers of the cell, by name."""
    known = tuple(_worker(one) for one in call.cell.store.workers())
    return Answer(200, WorkerPage(workers=known))


def _worker(one: dict[str, Any]) -> WorkerView:
    state = WorkerState.DRAINING if one["desired"] == "draining" else WorkerState(one["state"])
    return WorkerView(
        worker_id=one["worker_id"],
        state=state,
        alive=one["alive"],
        region=one["region"],
        zone=one["zone"],
        url=one["url"],
        version=one["version"],
        instance_type=one.get("instance_type"),
        market=one.get("market"),
        slots=one["slots"],
        used=one["used"],
        held=one["held"],
        order=one["order"],
        avatars=tuple(name for name in one["avatars"].split(",") if name),
        lateness_p95_ms=one["late"],
        hardware=Hardware.model_validate(one["hardware"]),
        last_seen_at=datetime.fromtimestamp(one["seen"] / 1000, UTC),
    )


@endpoint(
    blueprint, "POST", "/api/v1/workers/{worker_id}/drain", auth="operator", answers={204: None}
)
def drain_worker(call: Call, worker_id: str) -> Answer:
    """No new lease on that worker from now on; its sessions end by themselves."""
    workers.drain(call.cell, worker_id)
    return Answer(204)


@endpoint(blueprint, "GET", "/api/v1/fleet", auth="operator", answers={200: Fleet})
def show_fleet(call: Call) -> Answer:
    """The cell's sums."""
    known = call.cell.store.workers()
    alive = [one for one in known if one["alive"]]
    slots, used = sum(one["slots"] for one in alive), sum(one["used"] for one in alive)
    sums = Fleet(
        cell=call.cell.name,
        workers=len(known),
        workers_alive=len(alive),
        slots=slots,
        used=used,
        held=sum(one["held"] for one in alive),
        free=max(0, slots - used),
        sessions=call.cell.store.counts(),
        leaked=sum(one["used"] for one in known if not one["alive"]),
        repairs=call.cell.store.repairs(),
    )
    return Answer(200, sums)


@endpoint(
    blueprint, "GET", "/api/v1/fleet/forecast", auth="operator", answers={200: FleetForecast},
    query={"days": f"that its quality is told of, 1 to {foresight.MOST_DAYS}; 7"},
)  # fmt: skip
def show_forecast(call: Call) -> Answer:
    """Sessions expected by the last plan, and how good such forecasts were."""
    text = call.query.get("days", "7")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= foresight.MOST_DAYS:
        fault = f"is not 1 to {foresight.MOST_DAYS}"
        raise invalid(Fault("days", fault, "send such a number, or none"))
    plans = call.cell.store.plans(1)
    outlook = plans[0]["outlook"] if plans else {"step_s": foresight.BIN_S, "mean": (), "high": ()}
    found = foresight.quality(call.cell, int(text))
    quality = found and ForecastQuality(
        bins=found.bins,
        sessions=round(found.sessions, 2),
        forecast_error=round(found.forecast, 3),
        persistence_error=round(found.persistence, 3),
        ratio=found.ratio and round(found.ratio, 3),
    )
    at = datetime.fromtimestamp(plans[0]["at_s"], UTC) if plans else None
    told = FleetForecast(**outlook, at=at, days=int(text), quality=quality)
    return Answer(200, told)


@endpoint(blueprint, "POST", "/api/v1/webhooks/livekit", auth="livekit", answers={200: None})
def livekit_webhook(call: Call) -> Answer:
    """LiveKit's word about a room, signed by it."""
    sessions.webhook(call.cell, call.raw_body, call.headers.get("authorization", ""))
    return Answer(200, {})


@endpoint(blueprint, "GET", "/openapi.json", auth="anyone", answers={200: None})
def openapi(call: Call) -> Answer:
    """This description."""
    del call
    description: dict[str, Any] = json.loads(OPENAPI.read_text())
    return Answer(200, description)
