"""The avatar's way into the agent's own room."""

from __future__ import annotations

import os
from datetime import timedelta

from livekit import api, rtc
from livekit.agents import NotGivenOr, utils
from livekit.agents.voice.room_io import ATTRIBUTE_PUBLISH_ON_BEHALF

_TTL = timedelta(hours=6)  # a cell's longest lesson; a successor joins with it as well


def given(value: NotGivenOr[str], variable: str) -> str:
    """The value, else what the environment has; empty where neither is there."""
    return value if utils.is_given(value) and value else os.getenv(variable, "")


class LivekitKeys:
    """A LiveKit server and the keys to make its tokens; each defaults to its LIVEKIT_* variable.

    Raises ValueError where one is missing.
    """

    def __init__(self, url: NotGivenOr[str], key: NotGivenOr[str], secret: NotGivenOr[str]) -> None:
        self._url = given(url, "LIVEKIT_URL")
        self._key = given(key, "LIVEKIT_API_KEY")
        self._secret = given(secret, "LIVEKIT_API_SECRET")
        if not self._url or not self._key or not self._secret:
            raise ValueError(
                "livekit_url, livekit_api_key and livekit_api_secret are needed: pass them, or set "
                "LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
            )

    def avatars_room(self, room: rtc.Room, identity: str, name: str) -> dict[str, str]:
        """``room`` of a wish for a session: the avatar may join it, on the agent's behalf."""
        agent_identity = room.local_participant.identity
        token = (
            api.AccessToken(self._key, self._secret)
            .with_kind("agent")
            .with_identity(identity)
            .with_name(name)
            .with_ttl(_TTL)
            .with_grants(api.VideoGrants(room_join=True, room=room.name))
            .with_attributes({ATTRIBUTE_PUBLISH_ON_BEHALF: agent_identity})
            .to_jwt()
        )
        url = self._url
        if url.startswith("http"):
            url = "ws" + url.removeprefix("http")
        return {"url": url, "token": token, "agent_identity": agent_identity}
