"""What other cells say, each signed as itself."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from chalice.app import Blueprint

from control.contracts.cell import HandOver, KeyFacts, Summary, SummaryHeard
from control.contracts.session import SessionView
from control.contracts.timetable import RegionClass, TimetableWindow
from control.domain.errors import Fault, forbidden, invalid, not_found
from control.domain.geography import Point
from control.entrypoints.http import Answer, Call, endpoint, signer
from control.entrypoints.sessions_api import started
from control.entrypoints.telemetry import count, logger
from control.services import sessions, summaries, timetable
from control.services.peer_ports import Peer
from control.services.ports import Caller

blueprint = Blueprint(__name__)


@endpoint(
    blueprint, "PUT", "/api/v1/cell/peers/{cell}", auth="peer", body=Summary,
    answers={200: SummaryHeard},
)  # fmt: skip
def hear_peer(call: Call, cell: str) -> Answer:
    """A peer's standing and its lessons' changes; answers up to where they are known now."""
    if call.body.cell != cell:
        raise invalid(Fault("cell", "is not the one in the path", f"send {cell[:30]!r}"))
    received = summaries.receive(call.cell, call.body, datetime.now(UTC))
    if received.ended or received.kept:
        count("DoublesEnded", received.ended)
        count("DoublesKept", received.kept)
        logger.warning(
            "lessons were open twice", peer=cell, ended=received.ended, kept=received.kept
        )
    return Answer(200, SummaryHeard(sequence=received.sequence))


@endpoint(
    blueprint, "POST", "/api/v1/cell/sessions", auth="peer", body=HandOver,
    answers={200: SessionView, 201: SessionView},
)  # fmt: skip
def take_over(call: Call) -> Answer:
    """A client's request that a peer hands over; placed here or refused, never handed on."""
    _from_a_peer(call)
    asked: HandOver = call.body
    location = None
    if asked.viewer is not None:
        location = Point(asked.viewer.latitude, asked.viewer.longitude)
    session, new = sessions.create(
        call.cell,
        Caller(asked.tenant, "client", asked.most_sessions),
        asked.ask().model_copy(update={"wait": False}),  # its own cell's queue is the fair one
        asked.idempotency_key,
        location,
        asked.correlation_id or call.correlation_id,
    )
    count("SessionsTakenOver")
    return started(call.cell, session, new)


@endpoint(
    blueprint, "GET", "/api/v1/cell/keys/{digest}", auth="peer", answers={200: KeyFacts}
)  # fmt: skip
def show_key(call: Call, digest: str) -> Answer:
    """What the home cell's records know of a key, by its SHA-256."""
    _from_a_peer(call)
    if call.cell.name != call.cell.home or (facts := call.cell.records.key(digest)) is None:
        raise not_found("key", digest)
    return Answer(200, KeyFacts.model_validate(facts))


@endpoint(
    blueprint, "GET", "/api/v1/cell/timetable", auth="peer", answers={200: TimetableWindow},
    query={"since": "the version that is known", "cursor": "the page after"},
)  # fmt: skip
def show_window(call: Call) -> Answer:
    """The classes of the asking cell's region in the days to come, from the home cell."""
    peer = _from_a_peer(call)
    since, cursor = call.query.get("since", ""), call.query.get("cursor")
    now_s = datetime.now(UTC).timestamp()
    version, found, more = timetable.window(call.cell, peer.region, since, cursor, now_s)
    classes = tuple(RegionClass(**asdict(one)) for one in found or ())
    return Answer(
        200,
        TimetableWindow(version=version, unchanged=found is None, classes=classes, cursor=more),
    )


def _from_a_peer(call: Call) -> Peer:
    """Raises forbidden, not-found."""
    name = signer(blueprint.current_request.context)
    if not name.startswith("cell-"):
        raise forbidden(f"{name} is no cell; only a peer may ask this.")
    return summaries.known_peer(call.cell, name.removeprefix("cell-"))
