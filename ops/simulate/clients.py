"""A simulated client: asks for a lesson until it is told something, watches it, leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control.contracts.session import CreateSession
from control.domain.errors import RapidoError
from control.domain.session import Session
from control.services import sessions
from control.services.ports import Caller, Cell
from ops.simulate.world import Backoff, World

LINES = {"ash": (1.0, 0), "birch": (2.0, 0), "cedar": (1.0, 4)}
"""Tenant → weight of its turns, most open sessions."""
POLL_MS = 4_000
MOST_ASKS = 60
RELOADS_UNTIL_MS = 150_000
STAY_AFTER_MS = 230_000
"""Who is in a lesson then stays: the end of the run must not fall into somebody's leaving."""


class SimClient:
    """``accepted`` are the session ids it was given; ``told`` is what it knows at the end."""

    def __init__(
        self,
        world: World,
        cell: Cell,
        number: int,
        tenant: str,
        empty: Callable[[str], None],
        class_id: str | None = None,
    ) -> None:
        self.world, self.cell = world, cell
        self.accepted: list[str] = []
        self.told = "nothing yet"
        weight, most_sessions = LINES[tenant]
        self._caller = Caller(tenant, "client", most_sessions, weight)
        self._ask = CreateSession(
            lesson_id=f"lesson-{number}", wait=world.rng.random() < 0.85, class_id=class_id
        )
        self._key = f"key-{number}" if world.rng.random() < 0.3 else None
        self._empty_room = empty
        self._backoff = Backoff(world, 500, 4_000)
        self._asks = 0
        self._stays_ms = world.rng.choice((15_000, 40_000, 90_000, 400_000))
        self._patience_ms = world.rng.choice((8_000, 400_000, 400_000, 400_000))
        self._since_ms = 0
        self._settled = False

    def begin(self) -> None:
        """The first request."""
        self._asks += 1
        if self._asks > MOST_ASKS:
            self.told = "gave up"
            return

        def create() -> Session:
            return sessions.create(self.cell, self._caller, self._ask, self._key, None, None)[0]

        self.world.send(create, self._answered)

    def _answered(self, answer: object) -> None:
        if isinstance(answer, Session):
            if answer.session_id not in self.accepted:
                self.accepted.append(answer.session_id)
            self._since_ms = self.world.now_ms
            self._watch(answer)
            return
        if isinstance(answer, RapidoError):
            self.told = answer.slug
        if not isinstance(answer, RapidoError) or answer.status >= 500:
            self.world.at(self._backoff.next_ms(), self.begin)

    def _poll(self) -> None:
        session_id = self.accepted[-1]

        def look() -> Any:
            session = sessions.own(self.cell, self._caller, session_id)
            if session.status == "queued":
                sessions.queued(self.cell, session)
            return session

        self.world.send(look, self._looked)

    def _looked(self, answer: object) -> None:
        if isinstance(answer, Session):
            self._watch(answer)
        elif isinstance(answer, RapidoError) and answer.status == 404:
            self.told = "not-found"  # a failover forgot it; asking again is safe
            self._key = None
            self.begin()
        else:
            self.world.at(POLL_MS, self._poll)

    def _watch(self, session: Session) -> None:
        self.told = session.status
        waited_ms = self.world.now_ms - self._since_ms
        if not session.is_open:
            return
        if session.status == "live" and not self._settled:
            self._settled = True
            self.world.at(self._stays_ms, self._leave)
        if session.status != "live" and waited_ms > self._patience_ms:
            self._leave()
            return
        reloads = self.world.since_ms < RELOADS_UNTIL_MS and self.world.rng.random() < 0.3
        self.world.at(POLL_MS, self.begin if reloads else self._poll)

    def _leave(self) -> None:
        if self.world.since_ms > STAY_AFTER_MS:
            return
        session_id = self.accepted[-1]
        self.told = "left"
        if self.world.rng.random() < 0.3:  # closes its page: the worker notices by itself
            self._empty_room(session_id)
            return

        def end() -> None:
            sessions.own(self.cell, self._caller, session_id)
            sessions.end(self.cell, session_id, "Its client ended it.")

        def ended(answer: object) -> None:
            if isinstance(answer, Exception) and getattr(answer, "status", 500) >= 500:
                self.world.at(self._backoff.next_ms(), self._leave)

        self.world.send(end, ended)
