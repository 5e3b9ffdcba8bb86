"""The avatar of one agent in one room."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
from livekit import rtc
from livekit.agents import NOT_GIVEN, AgentSession, NotGivenOr, get_job_context, utils
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession

from .access import LivekitKeys, given
from .booking import Booking, Patience
from .cell import Cell
from .errors import RapidoError
from .handover import Handover
from .log import logger
from .presence import PING_S, Presence


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
        class_id: str | None = None,
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
        room's name; ``class_id`` names the announced class whose held slots are taken first.

        ``user_location`` is the learner's latitude and longitude in degrees, ``rtt_ms`` what it
        measured to each region: both help to choose a near avatar. ``queue_timeout_s`` is how long
        to wait for a free one (0: not at all), ``start_timeout_s`` from there until it is seen.
        Raises ValueError where the address or the key is missing.
        """
        super().__init__()
        url, key = given(api_url, "RAPIDO_URL"), given(api_key, "RAPIDO_KEY")
        if not url or not key:
            raise ValueError(
                "api_url and api_key are needed: pass them, or set RAPIDO_URL and RAPIDO_KEY"
            )
        self._cell = Cell(url, key, timeout_s=request_timeout_s, http=http_session)
        self._avatar = avatar
        self._lesson_id = lesson_id
        self._class_id = class_id
        self._user_location = user_location
        self._rtt_ms = dict(rtt_ms or {})
        # LiveKit Agents keeps its handlers by this name, for all rooms of a process
        self._identity = avatar_participant_identity or f"rapido-avatar-{uuid.uuid4().hex[:8]}"
        self._name = avatar_participant_name or "Avatar"
        self._wait = queue_timeout_s > 0
        self._booking = Booking(self._cell, Patience(queue_timeout_s, start_timeout_s))
        self._handover: Handover | None = None
        self._arriving: asyncio.Task[None] | None = None
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
        return self._booking.session_id

    async def start(
        self,
        agent_session: AgentSession[Any],
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
        keys = LivekitKeys(livekit_url, livekit_api_key, livekit_api_secret)
        self._started = True
        await _connected(room)
        await super().start(agent_session, room)
        agent_session.on("close", self._on_over)
        # LiveKit's own ``disconnected`` is now and then lost when this end leaves
        room.on("connection_state_changed", self._on_state)
        wish = self._wish(room, keys.avatars_room(room, self._identity, self._name))
        self._arriving = asyncio.create_task(self._arrive(wish, agent_session, room))
        try:
            await self._arriving
        except BaseException as error:
            why = "it was closed meanwhile" if self._closing else str(error) or type(error).__name__
            logger.error("no avatar, the agent keeps its own voice: %s", why)
            closed = self._closing is not None
            await self.aclose()
            if closed and isinstance(error, asyncio.CancelledError):
                raise RapidoError("the avatar's start", "avatar-failed", why) from None
            raise

    async def aclose(self) -> None:
        """Ends the session in the cell; the agent speaks with its own voice from here on.

        Called by itself when the job shuts down, the agent's session closes, or the agent leaves
        the room. Harmless when repeated.
        """
        await asyncio.shield(self._on_over())

    def _wish(self, room: rtc.Room, access: dict[str, str]) -> dict[str, Any]:
        wish: dict[str, Any] = {
            "lesson_id": self._lesson_id or room.name,
            "avatar": self._avatar,
            "room": access,
            "wait": self._wait,
        }
        if self._user_location is not None:
            latitude, longitude = self._user_location
            wish["user_location"] = {"latitude": latitude, "longitude": longitude}
        if self._class_id is not None:
            wish["class_id"] = self._class_id
        if self._rtt_ms:
            wish["rtt_ms"] = self._rtt_ms
        return wish

    async def _arrive(
        self, wish: dict[str, Any], agent_session: AgentSession[Any], room: rtc.Room
    ) -> None:
        """Returns once the avatar speaks for the agent. Raises RapidoError."""
        await self._booking.obtain(wish)
        await self._booking.until_seen(lambda limit_s: self.wait_for_join(timeout=limit_s))
        presence = Presence(room, self._identity)
        presence.unwatch()
        self._handover = Handover(agent_session, room, self._identity)
        await self._handover.to_avatar()
        self._watching = asyncio.create_task(self._watch(presence, self._handover))

    @utils.log_exceptions(logger=logger)
    async def _watch(self, presence: Presence, handover: Handover) -> None:
        while True:
            why = await presence.lost()
            await handover.to_agent(presence.seen_at)
            over = await self._booking.fate()
            logger.warning(
                "the avatar is gone (%s%s): the agent speaks with its own voice",
                why,
                f"; the session {over}" if over else "",
            )
            self.emit("avatar_lost", why)
            while not over and not await presence.visible():
                await asyncio.sleep(PING_S)
                over = await self._booking.fate()
            if over:
                logger.warning("the avatar does not come back: the session %s", over)
                return
            presence.unwatch()
            await handover.to_avatar()
            logger.info("the avatar is back and speaks for the agent")
            self.emit("avatar_returned")

    def _on_state(self, state: rtc.ConnectionState.ValueType) -> None:
        if state == rtc.ConnectionState.CONN_DISCONNECTED:
            self._on_over()

    def _on_over(self, *_: object) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        for task in (self._arriving, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if self._agent_session is not None:
            self._agent_session.off("close", self._on_over)
        if self._room is not None:
            self._room.off("connection_state_changed", self._on_state)
        try:
            await self._booking.end()
        finally:
            if self._handover is not None:
                await self._handover.close()
            await self._cell.aclose()
            await super().aclose()


async def _connected(room: rtc.Room) -> None:
    """Connects the job's room, as the agent's session would. Raises RuntimeError outside a job."""
    if room.isconnected():
        return
    job = get_job_context(required=False)
    if job is None or job.room is not room:
        raise RuntimeError("the room is not connected; connect it before the avatar starts")
    await job.connect()
