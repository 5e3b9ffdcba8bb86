"""Requests that another cell serves better, or has served already."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from control.contracts.cell import HandOver
from control.contracts.problem import TYPE_PREFIX
from control.contracts.session import CreateSession, SessionView, UserLocation
from control.domain.errors import RapidoError
from control.domain.geography import Point
from control.domain.peers import Standing, candidates
from control.domain.session import Session, cell_of
from control.services import sessions
from control.services.forwarding import PAUSE_S, TRY_S, WITHIN_S, passed_on
from control.services.peer_ports import Peer, PeerAnswer, PeerAway, Sought
from control.services.ports import Caller, Cell, StoreAway

_BEST_SCORE = 0.6


def create(
    cell: Cell,
    caller: Caller,
    ask: CreateSession,
    idempotency_key: str | None,
    location: Point | None,
    correlation_id: str | None,
) -> PeerAnswer | tuple[Session, bool]:
    """The lesson's session, here (and whether it is new) or as a peer answered.

    Raises as sessions.create does.
    """

    def offer(names: tuple[str, ...]) -> PeerAnswer | None:
        if not names:
            return None
        body = _body(caller, ask, idempotency_key, location, correlation_id)
        return _hand_over(cell, names, body)

    names = order(cell, caller, ask, location, full=False)
    if (answer := offer(names)) is not None:
        return answer
    try:
        return sessions.create(cell, caller, ask, idempotency_key, location, correlation_id)
    except RapidoError as error:
        if error.slug == "unavailable":
            cell.store.put_well(False)
        if error.slug != "no-capacity" or names:
            raise
        # the last slot went between the look and the placement
        answer = offer(order(cell, caller, ask, location, full=True))
        if answer is None:
            raise
        return answer


def order(
    cell: Cell, caller: Caller, ask: CreateSession, location: Point | None, *, full: bool
) -> tuple[str, ...]:
    """Peers to offer it to, the best first."""
    if not cell.peers:
        return ()
    learner = location
    if ask.user_location is not None:
        learner = Point(ask.user_location.latitude, ask.user_location.longitude)
    try:
        names = [peer.cell for peer in cell.peers]
        sought = cell.store.seek(caller.tenant, ask.lesson_id, names, ask.class_id)
    except StoreAway:
        # knowing nothing, the nearest one: it knows how it stands
        blind = [_standing(peer, _BEST_SCORE, 1, True, 0.0) for peer in cell.peers]
        own = Standing(cell.name, cell.region, cell.at, 0.0, 0, False)
        return candidates(own, blind, learner=learner, rtt_ms=ask.rtt_ms, hop=0)
    if sought.own_session is not None:
        return ()
    if sought.held and sought.well and not sought.owners and not full:
        return ()  # its slot waits here, however full the cell is
    own = Standing(
        cell.name,
        cell.region,
        cell.at,
        sought.best_score or 0.0,
        0 if full or sought.best_score is None else 1,
        sought.well,
    )
    owner = min(sought.owners, key=lambda name: sought.owners[name].born_ms, default=None)
    told = list(_standings(cell, sought))
    return candidates(own, told, learner=learner, rtt_ms=ask.rtt_ms, hop=0, owner=owner)


def _standings(cell: Cell, sought: Sought) -> Iterator[Standing]:
    for peer in cell.peers:
        if (told := sought.peers.get(peer.cell)) is not None:
            yield _standing(peer, told.best_score, told.free_slots, told.accepting, told.age_s)


def _standing(
    peer: Peer, best_score: float, free_slots: int, accepting: bool, age_s: float
) -> Standing:
    return Standing(peer.cell, peer.region, peer.at, best_score, free_slots, accepting, age_s)


def _body(
    caller: Caller,
    ask: CreateSession,
    idempotency_key: str | None,
    location: Point | None,
    correlation_id: str | None,
) -> HandOver:
    viewer = None
    if location is not None:
        viewer = UserLocation(latitude=location.latitude, longitude=location.longitude)
    given: dict[str, Any] = ask.model_dump()
    return HandOver(
        **given,
        tenant=caller.tenant,
        most_sessions=caller.most_sessions,
        hop=1,
        viewer=viewer,
        idempotency_key=idempotency_key,
        correlation_id=correlation_id,
    )


def _hand_over(cell: Cell, names: tuple[str, ...], body: HandOver) -> PeerAnswer | None:
    """The first session a peer gives, within the deadline; each is asked twice at most.

    Twice is safe: one lesson has one session in a cell.
    """
    known = {peer.cell: peer for peer in cell.peers}
    left = list(names)
    ends_s = time.monotonic() + WITHIN_S
    data = body.model_dump_json().encode()
    headers = {"x-correlation-id": body.correlation_id} if body.correlation_id else {}
    for again in (False, True):
        for name in tuple(left):
            if again:
                time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 (no secret)
            timeout_s = min(TRY_S, ends_s - time.monotonic())
            if timeout_s <= 0:
                return None
            try:
                answer = cell.peer_calls.call(
                    known[name], "POST", "/api/v1/cell/sessions", data, headers, timeout_s,
                    signed=True,
                )  # fmt: skip
            except PeerAway:
                continue
            if _settles(cell, name, body, answer):
                return passed_on(answer)
            left.remove(name)
    return None


def _settles(cell: Cell, name: str, body: HandOver, answer: PeerAnswer) -> bool:
    """Whether the answer is one for the client: a session of that cell, or that the key was used
    for something else. Anything else is for the next peer, or for us, to answer."""
    if answer.status == 409:
        return answer.body.get("type") == TYPE_PREFIX + "idempotency-conflict"
    if answer.status not in (200, 201):
        return False
    try:
        view = SessionView.model_validate(answer.body)
    except ValidationError:
        return False
    if cell_of(view.session_id) != name or view.lesson_id != body.lesson_id:
        return False
    born_ms = int(view.created_at.timestamp() * 1000)
    with contextlib.suppress(StoreAway):
        cell.store.remember(name, body.tenant, body.lesson_id, view.session_id, born_ms)
    return True
