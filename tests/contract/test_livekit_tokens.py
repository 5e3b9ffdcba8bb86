"""Our tokens and signatures against LiveKit's own library."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Literal

import jwt
import pytest
from livekit import api

from control.adapters.livekit import LivekitRooms
from control.services.ports import BadSignature

SECRETS = {"livekit_api_key": "key", "livekit_api_secret": "s" * 32}


@pytest.fixture
def rooms() -> LivekitRooms:
    return LivekitRooms(SECRETS.__getitem__)


@pytest.mark.parametrize("kind", ["learner", "voice", "avatar"])
def test_livekits_verifier_reads_our_tokens(
    rooms: LivekitRooms, kind: Literal["learner", "voice", "avatar"]
) -> None:
    token = rooms.token("anna", "lesson", 60.0, name="Anna", kind=kind)

    claims = api.TokenVerifier("key", "s" * 32).verify(token)

    assert (claims.identity, claims.name) == ("anna", "Anna")
    assert claims.video is not None
    assert (claims.video.room, claims.video.room_join) == ("lesson", True)
    assert claims.video.can_update_own_metadata is False
    assert (claims.attributes or {}).get("rapido.voice") == ("true" if kind == "voice" else None)
    assert claims.kind == ("agent" if kind == "avatar" else "")
    assert claims.room_config is not None
    assert claims.room_config.departure_timeout > 60


def test_ours_and_theirs_accept_the_same_webhook(rooms: LivekitRooms) -> None:
    body = json.dumps({"event": "room_finished", "room": {"name": "x"}})
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    token = api.AccessToken("key", "s" * 32).with_sha256(digest).to_jwt()

    theirs = api.WebhookReceiver(api.TokenVerifier("key", "s" * 32)).receive(body, token)
    ours = rooms.verify_webhook(body.encode(), token)

    assert theirs.event == ours["event"] == "room_finished"
    assert theirs.room.name == ours["room"]["name"]


def test_a_token_that_ran_out_is_refused(rooms: LivekitRooms) -> None:
    claims = {"iss": "key", "sha256": "", "exp": 1}
    token = jwt.encode(claims, "s" * 32, algorithm="HS256")

    with pytest.raises(BadSignature, match="expired"):
        rooms.verify_webhook(b"{}", token)
