"""Gives the agent's voice to the avatar and back."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.io import AudioOutput

from .voices import SAMPLE_RATE_HZ, AvatarVoice, OwnVoice

_INTERRUPTED_S = 2.0


class Handover:
    """One agent's voice: through the avatar, or the agent's own."""

    def __init__(
        self, agent_session: AgentSession[Any], room: rtc.Room, avatar_identity: str
    ) -> None:
        self._agent = agent_session
        self._room = room
        self._identity = avatar_identity
        self._avatar: AvatarVoice | None = None
        self._own: AudioOutput | None = None

    async def to_avatar(self) -> None:
        """From here on the agent speaks through the avatar, once it has said what it is saying."""
        if self._agent.output.audio is not None:
            await self._agent.output.audio.wait_for_playout()
        if self._own is None:
            self._own = self._tail()
        # speech may change hands in the middle: one rate for both
        rate_hz = (self._own.sample_rate if self._own else None) or SAMPLE_RATE_HZ
        self._avatar = AvatarVoice(self._room, self._identity, rate_hz)
        self._agent.output.replace_audio_tail(self._avatar)

    async def to_agent(self, lost_at: float) -> None:
        """From here on the agent speaks with its own voice.

        What it was saying is cut off, and reported as interrupted at ``lost_at``, of
        ``time.time()``: most of it was with the avatar already.
        """
        voice = self._avatar
        if voice is None:
            return
        voice.lose(lost_at)
        speech = self._agent.current_speech
        if voice.pending and speech is not None:
            speech.interrupt(force=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(speech.wait_for_playout(), _INTERRUPTED_S)
        voice.end()
        if self._tail() is voice:
            own = await self._own_voice()
            if self._tail() is voice:  # the session did not close meanwhile
                self._agent.output.replace_audio_tail(own)
        self._avatar = None

    async def close(self) -> None:
        """The avatar is over; an agent that goes on speaks with its own voice."""
        if self._agent.output.audio is not None and self._room.isconnected():
            await self.to_agent(time.time())

    def _tail(self) -> AudioOutput | None:
        output = self._agent.output.audio
        while output is not None and output.next_in_chain is not None:
            output = output.next_in_chain
        return output

    async def _own_voice(self) -> AudioOutput:
        """What the session brought, else a track of ours."""
        if self._own is None:
            self._own = OwnVoice(self._room)
        if isinstance(self._own, OwnVoice):
            await self._own.publish()
        return self._own
