"""Every choice of a thousand can be made again from what was kept, and comes out the same,
whatever order the planner put the workers in, and whether a slot was held for the class or not."""

from __future__ import annotations

import random

import pytest

from control.entrypoints.sessions_api import why_view
from ops.client import replayed
from tests.integration.test_store import Desk

SESSIONS = 1_000
CLASSES = ["9a", "9b", "10c"]
ORDERS = [0.0, 0.0, 0.04, -0.3, -1.0, None]


@pytest.fixture
def desk(valkey_url: str) -> Desk:
    return Desk(valkey_url)


def test_the_replay_agrees_for_every_session_of_a_thousand(desk: Desk) -> None:
    chance = random.Random(7)
    avatars = ["demo", "demo,fox", "fox", "owl"]
    slots = {f"w{number}": chance.choice([4, 12, 24, 60]) for number in range(40)}
    for name in slots:
        desk.worker(name, slots[name], avatars=chance.choice(avatars))
    open_ones: list[str] = []
    disagree, placed, held = [], 0, 0

    while placed < SESSIONS:
        desk.now_ms += chance.randrange(400)
        name = chance.choice(list(slots))
        late = chance.choice([0.0, 3.3, 17.0, 90.0])
        desk.beat(name, slots[name], desk.running(name), avatars=chance.choice(avatars), late=late)
        if chance.random() < 0.2:
            desk.store.order({chance.choice(list(slots)): chance.choice(ORDERS)})
        if chance.random() < 0.1:
            until_s = desk.now_ms / 1000 + 60
            desk.store.hold("school", chance.choice(CLASSES), chance.randrange(60), until_s)
        answer = desk.place(
            f"lesson {placed}",
            avatar=chance.choice(["demo", "fox", "owl"]),
            class_id=chance.choice([None, *CLASSES]),
        )
        if answer.outcome == "placed":
            placed += 1
            held += desk.session(answer.session_id).why["held"]
            open_ones.append(answer.session_id)
            if chance.random() < 0.2:
                desk.store.place_again(answer.session_id, 0)
            session = desk.session(answer.session_id)
            why = why_view(session).model_dump(mode="json")
            if replayed(why) != session.why["chosen"]:
                disagree.append(why)
            desk.store.confirm(session.session_id, session.generation)
        if open_ones and (answer.outcome != "placed" or chance.random() < 0.6):
            desk.store.finish(open_ones.pop(chance.randrange(len(open_ones))), 0, "ended", "done")

    assert disagree == []
    assert held > 50
