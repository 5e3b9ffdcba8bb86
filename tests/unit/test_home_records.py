"""A cell without records asks the home cell."""

from __future__ import annotations

from typing import Any

import pytest

from control.adapters.home_records import HomeRecords
from control.domain.errors import RapidoError
from control.domain.geography import REGIONS
from control.services.peer_ports import Peer, PeerAnswer, PeerAway

HOME = Peer("home", "us-east-1", REGIONS["us-east-1"], "https://home.example.com")
FACTS = {"tenant": "school", "role": "client", "most_sessions": 3, "left_s": None}


class Calls:
    """Answers with what it was given."""

    def __init__(self, answer: PeerAnswer | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, bool]] = []

    def call(self, peer: Peer, method: str, path: str, *_: Any, signed: bool) -> PeerAnswer:
        assert peer is HOME
        self.asked.append((method, path, signed))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_key_is_asked_for_by_its_digest_and_signed() -> None:
    calls = Calls(PeerAnswer(200, FACTS, {}))

    assert HomeRecords(HOME, calls).key("ab" * 32) == FACTS
    assert calls.asked == [("GET", "/api/v1/cell/keys/" + "ab" * 32, True)]


def test_a_key_that_the_home_cell_does_not_know_is_none() -> None:
    assert HomeRecords(HOME, Calls(PeerAnswer(404, {"type": "x"}, {}))).key("cd" * 32) is None


@pytest.mark.parametrize("answer", [PeerAway("it is dark"), PeerAnswer(403, {}, {})])
def test_a_home_cell_that_does_not_answer_is_told_as_such(answer: PeerAnswer | Exception) -> None:
    records = HomeRecords(HOME, Calls(answer))

    for ask in (lambda: records.key("ab" * 32), records.ping):
        with pytest.raises(RapidoError) as told:
            ask()
        assert told.value.status == 503


def test_nothing_is_written_past_the_home_cell() -> None:
    records = HomeRecords(HOME, Calls(PeerAnswer(200, {}, {})))

    with pytest.raises(RapidoError, match="home cell"):
        records.add_key("ab" * 32, "school", "client")
    with pytest.raises(RapidoError, match="home cell"):
        records.upsert([])
    with pytest.raises(RapidoError, match="home cell"):
        records.attended([])
