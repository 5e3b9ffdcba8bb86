"""What becomes of two sessions of one lesson, by who is in ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from control.domain.geography import REGIONS
from control.domain.peers import Twin
from control.services import sessions, summaries
from control.services.peer_ports import Double, Peer

WEST = Peer("west", "us-west-2", REGIONS["us-west-2"], "http://west")
OLDER, YOUNGER = Twin("s-a-00000000", 1), Twin("s-b-00000000", 2)


class Desk:
    """Takes down which doubles were settled and which sessions ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settled: list[str] = []
        self.ended: list[str] = []
        store = SimpleNamespace(settled=lambda peer, lesson: self.settled.append(lesson))
        self.cell: Any = SimpleNamespace(store=store)
        monkeypatch.setattr(
            sessions, "end", lambda cell, session_id, reason: self.ended.append(session_id)
        )

    def find(self, own: Twin, other: Twin, status: str, learners: int | None) -> tuple[int, int]:
        double = Double("lesson", own, status, learners, other)
        return summaries.doubles(self.cell, WEST, (double,))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


@pytest.mark.parametrize(
    ("status", "learners"), [("starting", None), ("live", 0), ("queued", None)]
)
def test_our_younger_session_ends_when_nobody_is_in_it(
    desk: Desk, status: str, learners: int | None
) -> None:
    assert desk.find(YOUNGER, OLDER, status, learners) == (1, 0)
    assert desk.ended == [YOUNGER.session_id]
    assert desk.settled == ["lesson"]


def test_our_younger_session_goes_on_and_is_counted_when_somebody_is_in_it(desk: Desk) -> None:
    assert desk.find(YOUNGER, OLDER, "live", 1) == (0, 1)
    assert desk.ended == []
    assert desk.settled == ["lesson"]


def test_a_live_session_whose_worker_has_not_told_who_is_in_it_waits_for_the_next_summary(
    desk: Desk,
) -> None:
    assert desk.find(YOUNGER, OLDER, "live", None) == (0, 0)
    assert desk.settled == []


def test_our_older_session_is_the_peers_to_think_about(desk: Desk) -> None:
    assert desk.find(OLDER, YOUNGER, "live", 0) == (0, 0)
    assert (desk.ended, desk.settled) == ([], ["lesson"])
