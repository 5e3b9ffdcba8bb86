"""Is the avatar there? LiveKit tells when it leaves; who dies is found by asking.

LiveKit notices a participant that died after some twenty seconds; an agent that speaks to nobody
must not wait that long.
"""

from __future__ import annotations

import asyncio
import time

from livekit import rtc

PING_S = 2.0
_ANSWER_S = 2.0
_PATIENCE = 2
_PING = "rapido.ping"
_Code = rtc.RpcError.ErrorCode
_NO_ANSWER = (
    _Code.CONNECTION_TIMEOUT,
    _Code.RESPONSE_TIMEOUT,
    _Code.RECIPIENT_NOT_FOUND,
    _Code.RECIPIENT_DISCONNECTED,
    _Code.SEND_FAILED,
)


class Presence:
    """One participant of a room, as this end sees it.

    ``seen_at``: when it was last known to be there, of ``time.time()``.
    """

    def __init__(self, room: rtc.Room, identity: str) -> None:
        self._room = room
        self._identity = identity
        self.seen_at = time.time()

    async def lost(self) -> str:
        """Returns why, once it has left or does not answer any more."""
        left: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_left(participant: rtc.RemoteParticipant) -> None:
            if participant.identity == self._identity and not left.done():
                self.seen_at = time.time()
                left.set_result("it left the room")

        self._room.on("participant_disconnected", on_left)
        silence = asyncio.create_task(self._silent())
        try:
            if self._identity not in self._room.remote_participants:
                return "it left the room"
            await asyncio.wait({left, silence}, return_when=asyncio.FIRST_COMPLETED)
            return left.result() if left.done() else silence.result()
        finally:
            self._room.off("participant_disconnected", on_left)
            silence.cancel()

    async def visible(self) -> bool:
        """Is it here, with a picture, and does it answer?"""
        participant = self._room.remote_participants.get(self._identity)
        if participant is None:
            return False
        kinds = [one.kind for one in participant.track_publications.values()]
        return rtc.TrackKind.KIND_VIDEO in kinds and await self._answers()

    def unwatch(self) -> None:
        """The agent needs neither its picture nor its sound: they cost a decoder."""
        participant = self._room.remote_participants.get(self._identity)
        for publication in participant.track_publications.values() if participant else ():
            publication.set_subscribed(False)

    async def _silent(self) -> str:
        missed = 0
        while missed < _PATIENCE:
            if missed == 0:
                await asyncio.sleep(PING_S)
            # while this end is away itself, silence says nothing about the other
            connected = self._room.connection_state == rtc.ConnectionState.CONN_CONNECTED
            missed = missed + 1 if connected and not await self._answers() else 0
        return f"it did not answer for {_PATIENCE * _ANSWER_S:g} s"

    async def _answers(self) -> bool:
        """Any answer will do, as that there is no such method."""
        try:
            await self._room.local_participant.perform_rpc(
                destination_identity=self._identity,
                method=_PING,
                payload="",
                response_timeout=_ANSWER_S,
                max_round_trip_latency=_ANSWER_S,
            )
        except rtc.RpcError as error:
            if error.code in _NO_ANSWER:
                return False
        self.seen_at = time.time()
        return True
