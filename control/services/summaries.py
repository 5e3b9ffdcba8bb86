"""What cells tell each other once a second, and what follows from it for doubles."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from control.contracts.cell import MOST_CHANGES, LessonChange, Summary, SummaryHeard
from control.domain.errors import Fault, RapidoError, conflict, invalid, not_found
from control.domain.peers import yields
from control.domain.session import cell_of
from control.services import sessions
from control.services.peer_ports import Double, LessonEntry, OwnSummary, Peer, PeerAway
from control.services.ports import Cell, StoreAway

EVERY_MS = 1000
WITHIN_S = 0.9
"""All peers together, at once: the heartbeat that finds a push due waits no longer."""
SETTLED_AT_ONCE = 4
"""Doubles looked into a summary: ending one may take 3 s where its worker is away."""
LATEST = timedelta(seconds=60)


def push(cell: Cell) -> dict[str, str]:
    """Tells every peer what is new, if a second has passed; what went wrong, by peer.

    Never raises: who calls has something else to do.
    """
    try:
        if not cell.peers or not cell.store.due("push", EVERY_MS):
            return {}
    except StoreAway:
        return {"store": "does not answer"}
    return _push(cell)


def push_soon(cell: Cell) -> dict[str, str]:
    """After a lesson began: its peers know within a second, however seldom workers beat here.

    Waits until a push is due; nothing is left to do where another caller made that one.
    """
    try:
        if not cell.peers:
            return {}
        if not cell.store.due("push", EVERY_MS):
            time.sleep(EVERY_MS / 1000)
            if not cell.store.due("push", EVERY_MS):
                return {}
    except StoreAway:
        return {"store": "does not answer"}
    return _push(cell)


def _push(cell: Cell) -> dict[str, str]:
    faults: dict[str, str] = {}
    ends_s = time.monotonic() + WITHIN_S
    threads = [
        threading.Thread(target=_tell, args=(cell, peer, ends_s, faults), daemon=True)
        for peer in cell.peers
    ]
    for thread in threads:
        thread.start()
    for thread, peer in zip(threads, cell.peers, strict=True):
        thread.join(max(0.0, ends_s - time.monotonic()))
        if thread.is_alive():
            faults.setdefault(peer.cell, "no answer in time")
    return dict(faults)


def _tell(cell: Cell, peer: Peer, ends_s: float, faults: dict[str, str]) -> None:
    try:
        while (left_s := ends_s - time.monotonic()) > 0.05 and _tell_once(cell, peer, left_s):
            pass
    except (PeerAway, StoreAway, RapidoError) as error:
        faults[peer.cell] = str(error)


def _tell_once(cell: Cell, peer: Peer, timeout_s: float) -> bool:
    """Whether there is more to tell at once."""
    told = cell.store.summary(peer.cell, MOST_CHANGES)
    summary = Summary(
        cell=cell.name,
        region=cell.region,
        free_slots=told.free_slots,
        best_score=told.best_score,
        accepting=told.accepting,
        short_slots=told.short_slots,
        since=told.since,
        sequence=told.sequence,
        more=told.more,
        lessons=tuple(
            LessonChange(lesson=c.lesson, session_id=c.session_id, born_ms=c.born_ms, over=c.over)
            for c in told.lessons
        ),
        sent_at=datetime.now(UTC),
    )
    path = f"/api/v1/cell/peers/{cell.name}"
    body = summary.model_dump_json().encode()
    answer = cell.peer_calls.call(peer, "PUT", path, body, {}, timeout_s, signed=True)
    if answer.status != 200:
        raise PeerAway(f"it refused: {answer.status} {str(answer.body.get('detail', ''))[:200]}")
    try:
        heard = SummaryHeard.model_validate(answer.body).sequence
    except ValidationError:
        raise PeerAway("its answer to a summary makes no sense") from None
    # it cannot know more than it was told, whatever it says
    cell.store.acknowledge(peer.cell, min(heard, told.sequence))
    return told.more and heard == told.sequence


@dataclass(frozen=True)
class Received:
    """The sequence known now; doubles of which ours was ended, and that both go on."""

    sequence: int
    ended: int
    kept: int


def receive(cell: Cell, summary: Summary, now: datetime) -> Received:
    """Keeps a peer's summary and settles doubles. Raises not-found, invalid-request, conflict."""
    peer = known_peer(cell, summary.cell)
    faults = []
    if summary.region != peer.region:
        faults.append(Fault("region", f"is not {peer.cell}'s", f"it is {peer.region}"))
    if any(cell_of(one.session_id) != peer.cell for one in summary.lessons):
        faults.append(Fault("lessons", "name sessions of others", "tell your own cell's only"))
    if summary.sequence < summary.since:
        faults.append(Fault("sequence", "is before since", "send what comes after since"))
    if faults:
        raise invalid(*faults)
    if abs(now - summary.sent_at) > LATEST:
        raise conflict(
            "stale-summary",
            "The summary is not of now",
            "Check this cell's clock, and send a new summary.",
        )
    told = OwnSummary(
        summary.free_slots,
        summary.best_score,
        summary.accepting,
        summary.since,
        summary.sequence,
        summary.more,
        tuple(LessonEntry(c.lesson, c.session_id, c.born_ms, c.over) for c in summary.lessons),
        summary.short_slots,
    )
    sequence, found = cell.store.hear(peer.cell, told, SETTLED_AT_ONCE)
    ended, kept = doubles(cell, peer, found)
    return Received(sequence, ended, kept)


def known_peer(cell: Cell, name: str) -> Peer:
    """Raises not-found."""
    for peer in cell.peers:
        if peer.cell == name:
            return peer
    raise not_found("peer of this cell", name)


def doubles(cell: Cell, peer: Peer, found: tuple[Double, ...]) -> tuple[int, int]:
    """Ends the younger session where it is ours and nobody is in it; (ended, both go on).

    A live one whose worker has not told yet who is in it is left for the next summary.
    """
    ended = kept = 0
    for double in found:
        if yields(double.own, double.other):
            if double.learners is None and double.status not in ("queued", "starting"):
                continue
            if double.learners:
                kept += 1
            else:
                reason = f"The lesson goes on in {double.other.session_id}, which began before."
                sessions.end(cell, double.own.session_id, reason)
                ended += 1
        cell.store.settled(peer.cell, double.lesson)
    return ended, kept


def check_health(cell: Cell) -> None:
    """Whether sessions can be set up here, for peers and for ourselves."""
    try:
        cell.workflows.ping()
    except RapidoError:
        cell.store.put_well(False)
    else:
        cell.store.put_well(True)
