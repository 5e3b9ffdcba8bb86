"""Speaks through an avatar: joins its room as a voice and sends speech as LiveKit agents do."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc

TOPIC = "lk.audio_stream"
LONGEST_S = 600.0
"""A worker keeps ten minutes that are not played yet, and drops the rest."""
_CHUNK_S = 0.1
_AHEAD_S, QUICKLY, STEADILY = 2.0, 4.0, 1.5
"""Times as fast as real time: the first seconds, and what comes after them."""
_JOIN_TIMEOUT_S = 20.0


class Speaker:
    """A participant whose token carries ``rapido.voice``."""

    def __init__(self, avatar: str) -> None:
        self.room = rtc.Room()
        self.finished: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._avatar = avatar

    async def join(self, url: str, token: str) -> None:
        """Connects and waits for the avatar. Raises TimeoutError if it does not come."""
        await self.room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
        me = self.room.local_participant

        async def finished(call: rtc.RpcInvocationData) -> str:
            self.finished.put_nowait(json.loads(call.payload or "{}"))
            return "ok"

        async def started(call: rtc.RpcInvocationData) -> str:
            del call
            return "ok"

        me.register_rpc_method("lk.playback_finished", finished)
        me.register_rpc_method("lk.playback_started", started)
        deadline = time.monotonic() + _JOIN_TIMEOUT_S
        here = asyncio.Event()
        self.room.on("participant_connected", lambda _: here.set())
        while self._avatar not in self.room.remote_participants:
            here.clear()
            await asyncio.wait_for(here.wait(), deadline - time.monotonic())

    async def say(
        self, pcm: npt.NDArray[np.float32], rate_hz: int, speed: float = STEADILY
    ) -> None:
        """Sends mono speech in -1..1 as one segment: two seconds of it quickly, then ``speed``
        times as fast as it plays.

        All at once would crowd the sound out of the same connection for seconds.
        """
        writer = await self.room.local_participant.stream_bytes(
            "speech",
            topic=TOPIC,
            destination_identities=[self._avatar],
            attributes={"sample_rate": str(rate_hz), "num_channels": "1"},
        )
        step = int(rate_hz * _CHUNK_S)
        samples = (np.clip(pcm, -1, 1) * 32767).astype("<i2")
        for start in range(0, len(samples), step):
            await writer.write(samples[start : start + step].tobytes())
            await asyncio.sleep(_CHUNK_S / (QUICKLY if start < _AHEAD_S * rate_hz else speed))
        await writer.aclose()

    async def interrupt(self) -> None:
        """Drops everything that is not played yet."""
        await self.room.local_participant.perform_rpc(
            destination_identity=self._avatar, method="lk.clear_buffer", payload=""
        )

    async def leave(self) -> None:
        """Disconnects."""
        await self.room.disconnect()
