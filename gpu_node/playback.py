"""Tells a segment's speaker when it starts to be heard and when it is over, as LiveKit Agents do.

A speaker waits for its ``lk.playback_finished``: it is sent once a segment, whatever happened, and
in the order of what happened: a speaker counts its segments by these.
"""

from __future__ import annotations

import asyncio
import json
import logging

from livekit import rtc

from gpu_node.segment import Segment

STARTED = "lk.playback_started"
FINISHED = "lk.playback_finished"
_ANSWER_S = 2.0
_log = logging.getLogger(__name__)


class PlaybackReports:
    """Calls into one room; a speaker that does not listen or has left is no error."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # fair: the library itself may let calls overtake each other

    def started(self, segment: Segment) -> None:
        """Its first sound leaves."""
        self._tell(segment, STARTED, "")

    def finished(self, segment: Segment, position_s: float, *, interrupted: bool) -> None:
        """It is over; ``position_s`` of it was heard."""
        report = {
            "playback_position": round(position_s, 3),
            "interrupted": interrupted,
            "synchronized_transcript": None,
        }
        self._tell(segment, FINISHED, json.dumps(report))

    async def flush(self, limit_s: float) -> None:
        """Waits until the calls under way are answered."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=limit_s)
        for task in list(self._tasks):
            task.cancel()

    def _tell(self, segment: Segment, method: str, payload: str) -> None:
        if not segment.reported or segment.sender not in self._room.remote_participants:
            return
        task = asyncio.create_task(self._call(segment.sender, method, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, identity: str, method: str, payload: str) -> None:
        async with self._turn:
            try:
                await self._room.local_participant.perform_rpc(
                    destination_identity=identity,
                    method=method,
                    payload=payload,
                    response_timeout=_ANSWER_S,
                )
            except rtc.RpcError as error:
                _log.info("%s was not taken: %s", method, error.message)
