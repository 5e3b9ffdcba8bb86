"""The avatar of one agent in one room."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Literal

import aiohttp
from livekit import api, rtc
from livekit.agents import NOT_GIVEN, AgentSession, NotGivenOr, get_job_context
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession
from livekit.agents.voice.room_io import ATTRIBUTE_PUBLISH_ON_BEHALF

from .cell import Cell, Placed
from .errors import RapidoError
from .handover import Handover
from .log import logger
from .presence import PING_S, Presence

_TOKEN_TTL = timedelta(hours=6)  # a cell's longest lesson; a successor joins with it as well
_POLL_S = 1.0
_END_LIMIT_S = 5.0


class AvatarSession(BaseAvatarSession[Literal["avatar_lost", "avatar_returned"]]):
    """A Rapido avatar that speaks for the agent, in the agent's own room.

    Emits ``avatar_lost`` with the reason when the avatar left or died, once the agent has its own
    voice again, and ``avatar_returned`` when it speaks through the avatar again.
    """

    def __init__(
        self,
        *,
        api_url: NotGivenOr[str] = NOT_GIVEN,
        api_key: NotGivenOr[str] = NOT_GIVEN,
        avatar: str = "demo",
        lesson_id: NotGivenOr[str] = NOT_GIVEN,
        user_location: tuple[float, float] | None = None,
        rtt_ms: Mapping[str, float] | None = None,
        avatar_participant_identity: NotGivenOr[str] = NOT_GIVEN,
        avatar_participant_name: NotGivenOr[str] = NOT_GIVEN,
        queue_timeout_s: float = 60.0,
        start_timeout_s: float = 30.0,
        request_timeout_s: float = 10.0,
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        """``api_url`` and ``api_key`` default to RAPIDO_URL and RAPIDO_KEY, ``lesson_id`` to the
        room's name.

        ``user_location`` is the learner's latitude and longitude in degrees, ``rtt_ms`` what it
        measured to each region: both help to choose a near avatar. ``queue_timeout_s`` is how long
        to wait for a free one (0: not at all), ``start_timeout_s`` from there until it is seen.
        Raises ValueError where the address or the key is missing.
        """
        super().__init__()
        key = api_key or os.getenv("RAPIDO_KEY", "")
        url = api_url or os.getenv("RAPIDO_URL", "")
        if not url or not key:
            raise ValueError(
                "api_url and api_key are needed: pass them, or set RAPIDO_URL and RAPIDO_KEY"
            )
        self._cell = Cell(url, key, timeout_s=request_timeout_s, http=http_session)
        self._avatar = avatar
        self._lesson_id = lesson_id
        self._user_location = user_location
        self._rtt_ms = dict(rtt_ms or {})
        # LiveKit Agents keeps its handlers by this name, for all rooms of a process
        self._identity = avatar_participant_identity or f"rapido-avatar-{uuid.uuid4().hex[:8]}"
        self._name = avatar_participant_name or "Avatar"
        self._queue_timeout_s = queue_timeout_s
        self._start_timeout_s = start_timeout_s
        self._session_id: str | None = None
        self._handover: Handover | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._started = False

    @property
    def avatar_identity(self) -> str:
        """The avatar's identity in the room."""
        return self._identity

    @property
    def provider(self) -> str:
        """Who provides the avatar."""
        return "rapido"

    @property
    def session_id(self) -> str | None:
        """The session's id in the cell, while there is one."""
        return self._session_id

    async def start(
        self,
        agent_session: AgentSession,
        room: rtc.Room,
        *,
        livekit_url: NotGivenOr[str] = NOT_GIVEN,
        livekit_api_key: NotGivenOr[str] = NOT_GIVEN,
        livekit_api_secret: NotGivenOr[str] = NOT_GIVEN,
    ) -> None:
        """Returns once the avatar is seen in the room and speaks for the agent.

        The LiveKit values default to LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET. Raises
        RapidoError when there is no avatar; the agent keeps its own voice then.
        """
        if self._started:
            raise RuntimeError("start() may be called once; make a new AvatarSession")
        url = livekit_url or os.getenv("LIVEKIT_URL", "")
        key = livekit_api_key or os.getenv("LIVEKIT_API_KEY", "")
        secret = livekit_api_secret or os.getenv("LIVEKIT_API_SECRET", "")
        if not url or not key or not secret:
            raise ValueError(
                "livekit_url, livekit_api_key and livekit_api_secret are needed: pass them, or set "
                "LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
            )
        self._started = True
        await _connected(room)
        await super().start(agent_session, room)
        token = self._token(room, key, secret)
        access = {
            "url": "ws" + url.removeprefix("http") if url.startswith("http") else url,
            "token": token,
            "agent_identity": room.local_participant.identity,
        }
        try:
            await self._obtain(self._wish(room, access))
            await self._until_seen()
        except BaseException as error:
            why = str(error) or type(error).__name__
            logger.error("no avatar, the agent keeps its own voice: %s", why)
            await self.aclose()
            raise
        agent_session.on("close", self._on_over)
        room.on("disconnected", self._on_over)
        presence = Presence(room, self._identity)
        presence.unwatch()
        self._handover = Handover(agent_session, room, self._identity)
        await self._handover.to_avatar()
        self._watching = asyncio.create_task(self._watch(presence, self._handover))

    async def aclose(self) -> None:
        """Ends the session in the cell; the agent speaks with its own voice from here on.

        Called by itself when the job shuts down, the agent's session closes, or the agent leaves
        the room. Harmless when repeated.
        """
        await asyncio.shield(self._on_over())

    def _token(self, room: rtc.Room, key: str, secret: str) -> str:
        """The avatar's way into the agent's room, to publish on the agent's behalf."""
        return (
            api.AccessToken(key, secret)
            .with_kind("agent")
            .with_identity(self._identity)
            .with_name(self._name)
            .with_ttl(_TOKEN_TTL)
            .with_grants(api.VideoGrants(room_join=True, room=room.name))
            .with_attributes({ATTRIBUTE_PUBLISH_ON_BEHALF: room.local_participant.identity})
            .to_jwt()
        )

    def _wish(self, room: rtc.Room, access: dict[str, str]) -> dict[str, Any]:
        wish: dict[str, Any] = {
            "lesson_id": self._lesson_id or room.name,
            "avatar": self._avatar,
            "room": access,
            "wait": self._queue_timeout_s > 0,
        }
        if self._user_location is not None:
            latitude, longitude = self._user_location
            wish["user_location"] = {"latitude": latitude, "longitude": longitude}
        if self._rtt_ms:
            wish["rtt_ms"] = self._rtt_ms
        return wish

    async def _obtain(self, wish: dict[str, Any]) -> None:
        """Sets the session's id, once it has left the queue. Raises RapidoError."""
        placed = await self._place(wish)
        if placed.found:
            # what an earlier agent of this lesson left behind listens to that agent, not to us
            logger.info("the lesson's session %s is replaced", placed.session_id)
            await self._cell.end(placed.session_id, _END_LIMIT_S)
            placed = await self._place(wish)
        if placed.position is not None:
            await self._stand_in_line(placed)

    async def _place(self, wish: dict[str, Any]) -> Placed:
        asking = asyncio.create_task(
            self._cell.place(wish, str(uuid.uuid4()), self._start_timeout_s)
        )
        try:
            placed = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # the cell may have made a session for us: its name is needed to end it
            with suppress(RapidoError):
                self._session_id = (await asking).session_id
            raise
        self._session_id = placed.session_id
        return placed

    async def _stand_in_line(self, placed: Placed) -> None:
        """Returns when the ticket has left the queue. Raises RapidoError after the time-out."""
        deadline = asyncio.get_running_loop().time() + self._queue_timeout_s
        place: int | None = placed.position
        while place is not None:
            if asyncio.get_running_loop().time() >= deadline:
                waited = f"place {place} in the queue after {self._queue_timeout_s:g} s"
                await self._cell.leave_queue(placed.session_id, _END_LIMIT_S)
                self._session_id = None
                raise RapidoError("no avatar is free", "queue-timeout", waited)
            logger.info("waiting for an avatar, place %d in the queue", place)
            await asyncio.sleep(_POLL_S)
            with _patience():
                place = await self._cell.queued(placed.session_id)

    async def _until_seen(self) -> None:
        """Returns when its picture is in the room. Raises RapidoError."""
        assert self._session_id is not None
        what = f"session {self._session_id}"
        status = "starting"
        joining = asyncio.create_task(self.wait_for_join(timeout=self._start_timeout_s))
        try:
            while not (await asyncio.wait({joining}, timeout=_POLL_S))[0]:
                with _patience():
                    state = await self._cell.session(self._session_id)
                    status = state.status
                    if state.over:
                        raise RapidoError(what, "avatar-failed", f"{status}: {state.reason}")
            await joining
        except TimeoutError:
            detail = f"no picture after {self._start_timeout_s:g} s; the session is {status}"
            raise RapidoError(what, "start-timeout", detail) from None
        except RuntimeError as error:
            raise RapidoError(what, "avatar-failed", str(error)) from error
        finally:
            joining.cancel()

    async def _watch(self, presence: Presence, handover: Handover) -> None:
        while True:
            why = await presence.lost()
            await handover.to_agent()
            over = await self._fate()
            logger.warning(
                "the avatar is gone (%s%s): the agent speaks with its own voice",
                why,
                f"; the session {over}" if over else "",
            )
            self.emit("avatar_lost", why)
            while not over and not await presence.visible():
                await asyncio.sleep(PING_S)
                over = await self._fate()
            if over:
                logger.warning("the avatar does not come back: the session %s", over)
                return
            presence.unwatch()
            await handover.to_avatar()
            logger.info("the avatar is back and speaks for the agent")
            self.emit("avatar_returned")

    async def _fate(self) -> str | None:
        """How the session ended; None while it goes on, or nobody can say."""
        if self._session_id is None:
            return "was ended"
        try:
            state = await self._cell.session(self._session_id)
        except RapidoError as error:
            return None if error.retryable else f"is not known: {error}"
        return f"{state.status}: {state.reason}" if state.over else None

    def _on_over(self, *_: object) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self._agent_session is not None:
            self._agent_session.off("close", self._on_over)
        if self._room is not None:
            self._room.off("disconnected", self._on_over)
        session_id, self._session_id = self._session_id, None
        try:
            if session_id is not None:
                await self._cell.end(session_id, _END_LIMIT_S)
        except RapidoError as error:
            logger.warning("the session %s could not be ended: %s", session_id, error)
        finally:
            if self._handover is not None:
                await self._handover.close()
            await self._cell.aclose()
            await super().aclose()


@contextmanager
def _patience() -> Iterator[None]:
    """While asking again and again, an answer that is missing is asked for again."""
    try:
        yield
    except RapidoError as error:
        if not error.retryable:
            raise


async def _connected(room: rtc.Room) -> None:
    """Connects the job's room, as the agent's session would. Raises RuntimeError outside a job."""
    if room.isconnected():
        return
    job = get_job_context(required=False)
    if job is None or job.room is not room:
        raise RuntimeError("the room is not connected; connect it before the avatar starts")
    await job.connect()
