"""What the store keeps about peers, against a real Valkey: two cells that tell each other."""

from __future__ import annotations

import secrets
import time

import pytest
import valkey

from control.adapters.store import ValkeyStore, digest
from control.services.peer_ports import Double, OwnSummary

ALL = 256


class Side:
    """One cell's store; lessons begin and end by the contract's own keys."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name + secrets.token_hex(3)
        self.store = ValkeyStore(url, self.name, "us-east-1")
        self.raw = valkey.Valkey.from_url(url, decode_responses=True)

    def key(self, name: str) -> str:
        return f"{{{self.name}}}:{name}"

    def changed(self, lesson: str, session: str, born_ms: int, over: int) -> None:
        sequence = self.raw.incr(self.key("changeseq"))
        member = f"{digest('school', lesson)}|{session}|{born_ms}|{over}"
        self.raw.zadd(self.key("changes"), {member: sequence})

    def begin(self, lesson: str, born_ms: int = 1000, learners: int | None = None) -> str:
        session = f"s-{self.name}-{secrets.token_hex(4)}"
        self.raw.set(self.key(f"lesson:{digest('school', lesson)}"), session)
        fields = {"created_ms": born_ms, "status": "live"}
        self.raw.hset(self.key(f"s:{session}"), mapping=fields)
        if learners is not None:
            self.raw.hset(self.key("in"), session, learners)
        self.changed(lesson, session, born_ms, 0)
        return session

    def end(self, lesson: str, session: str, born_ms: int = 1000) -> None:
        self.raw.delete(self.key(f"lesson:{digest('school', lesson)}"))
        self.changed(lesson, session, born_ms, 1)

    def worker(self, name: str, slots: int, used: int, score: float) -> None:
        self.raw.hset(self.key("w"), name, f"{slots}|0|1|ready")
        self.raw.hset(self.key("used"), name, used)
        self.raw.zadd(self.key("free"), {name: score})
        self.raw.zadd(self.key("hb"), {name: time.time() * 1000})

    def tell(self, other: Side, most: int = ALL) -> tuple[OwnSummary, tuple[Double, ...]]:
        told = self.store.summary(other.name, most)
        known, doubles = other.store.hear(self.name, told, 5)
        self.store.acknowledge(other.name, known)
        return told, doubles

    def owner(self, lesson: str, of: Side) -> str | None:
        found = self.store.seek("school", lesson, [of.name]).owners.get(of.name)
        return found.session_id if found else None


@pytest.fixture
def east(valkey_url: str) -> Side:
    return Side(valkey_url, "east")


@pytest.fixture
def west(valkey_url: str) -> Side:
    return Side(valkey_url, "west")


def test_a_peers_lessons_are_known_and_forgotten_when_they_are_over(east: Side, west: Side) -> None:
    session = east.begin("maths")
    east.tell(west)
    assert west.owner("maths", east) == session
    east.end("maths", session)
    east.tell(west)
    assert west.owner("maths", east) is None


def test_only_what_is_new_is_told(east: Side, west: Side) -> None:
    east.begin("maths")
    east.tell(west)
    east.begin("art")
    told, _ = east.tell(west)
    assert [one.lesson for one in told.lessons] == [digest("school", "art")]
    assert east.tell(west)[0].lessons == ()


def test_an_unheard_summary_is_told_again(east: Side, west: Side) -> None:
    session = east.begin("maths")
    east.store.summary(west.name, ALL)
    east.tell(west)
    assert west.owner("maths", east) == session


def test_many_changes_are_told_a_part_at_a_time(east: Side, west: Side) -> None:
    sessions = [east.begin(f"lesson {n}") for n in range(5)]
    assert [east.tell(west, most=2)[0].more for _ in range(3)] == [True, True, False]
    assert [west.owner(f"lesson {n}", east) for n in range(5)] == sessions


def test_a_peer_whose_store_was_lost_is_told_everything_again(east: Side, west: Side) -> None:
    session = east.begin("maths")
    east.tell(west)
    west.raw.delete(west.key("heardseq"), west.key(f"peer:{east.name}"))
    east.begin("art")
    east.tell(west)
    east.tell(west)
    assert west.owner("maths", east) == session


def test_a_cell_whose_own_store_was_lost_begins_anew(east: Side, west: Side) -> None:
    east.begin("maths")
    east.begin("art")
    east.tell(west)
    east.raw.delete(east.key("changes"), east.key("changeseq"))
    music = east.begin("music")
    east.tell(west)
    assert west.owner("music", east) == music
    assert west.owner("maths", east) is None


def test_changes_that_were_trimmed_away_begin_the_list_anew(east: Side, west: Side) -> None:
    gone = east.begin("gone")
    east.tell(west)
    east.end("gone", gone)
    east.begin("maths")
    east.raw.zremrangebyrank(east.key("changes"), 0, -2)
    told, _ = east.tell(west)
    assert told.since == 0
    assert west.owner("gone", east) is None
    assert west.owner("maths", east) is not None


def test_a_late_summary_takes_nothing_back(east: Side, west: Side) -> None:
    east.begin("maths")
    east.tell(west)
    late = east.store.summary(west.name, ALL)
    session = east.begin("art")
    east.tell(west)
    west.store.hear(east.name, late, 5)
    assert west.owner("art", east) == session


def test_the_end_of_an_older_session_does_not_end_its_successor(east: Side, west: Side) -> None:
    first = east.begin("maths", 1)
    second = east.begin("maths", 2)
    east.changed("maths", first, 1, 1)
    east.tell(west)
    assert west.owner("maths", east) == second


def test_a_summary_counts_free_slots_of_workers_that_are_alive(east: Side, west: Side) -> None:
    east.worker("a", slots=4, used=1, score=0.5)
    east.worker("b", slots=2, used=0, score=0.6)
    east.worker("dead", slots=9, used=0, score=0.6)
    east.raw.zadd(east.key("hb"), {"dead": 1})
    told, _ = east.tell(west)
    assert (told.free_slots, told.best_score, told.accepting) == (5, 0.6, True)
    known = west.store.seek("school", "maths", [east.name]).peers[east.name]
    assert (known.free_slots, known.best_score, known.accepting) == (5, 0.6, True)
    assert known.age_s < 60


def test_a_cell_without_workers_or_unwell_accepts_nothing(east: Side, west: Side) -> None:
    assert east.store.summary(west.name, ALL).accepting is False
    east.worker("a", slots=4, used=1, score=0.5)
    east.store.put_well(False)
    assert east.store.summary(west.name, ALL).accepting is False
    assert east.store.seek("school", "maths", []).well is False
    east.store.put_well(True)
    assert east.store.summary(west.name, ALL).accepting is True


def test_a_double_is_found_by_both_whoever_is_heard_first(east: Side, west: Side) -> None:
    ours, theirs = east.begin("maths", 1000, learners=0), west.begin("maths", 2000)
    _, at_west = east.tell(west)
    _, at_east = west.tell(east)
    assert [(d.own.session_id, d.other.session_id, d.learners) for d in at_west] == [
        (theirs, ours, None)
    ]
    assert [(d.own.session_id, d.other.born_ms, d.learners) for d in at_east] == [(ours, 2000, 0)]


def test_a_double_begun_though_the_peer_was_known_to_have_the_lesson_is_found(
    east: Side, west: Side
) -> None:
    east.begin("maths", 1000)
    east.tell(west)
    younger = west.begin("maths", 2000)
    west.tell(east)
    _, at_west = east.tell(west)
    assert [d.own.session_id for d in at_west] == [younger]


def test_a_lesson_that_ended_there_before_we_talked_is_no_double(east: Side, west: Side) -> None:
    first = east.begin("maths", 1000)
    east.tell(west)
    west.begin("maths", 2000)
    east.end("maths", first)
    west.tell(east)
    assert east.tell(west)[1] == ()


def test_a_double_is_not_looked_for_while_more_is_to_come(east: Side, west: Side) -> None:
    first = east.begin("maths", 1000)
    east.end("maths", first)
    west.begin("maths", 2000)
    assert [east.tell(west, most=1)[1] for _ in range(2)] == [(), ()]


def test_a_settled_double_is_not_told_again(east: Side, west: Side) -> None:
    east.begin("maths", 1000)
    west.begin("maths", 2000)
    east.tell(west)
    assert len(east.tell(west)[1]) == 1
    west.store.settled(east.name, digest("school", "maths"))
    assert east.tell(west)[1] == ()


def test_one_caller_is_due_at_a_time(east: Side) -> None:
    assert [east.store.due("push", 60_000) for _ in range(3)] == [True, False, False]


def test_what_was_handed_over_is_remembered_before_the_peer_tells_it(
    east: Side, west: Side
) -> None:
    east.store.remember(west.name, "school", "maths", "s-x-00000000", 5)
    assert east.owner("maths", west) == "s-x-00000000"


def test_a_cells_own_best_is_its_first_worker_that_is_alive(east: Side) -> None:
    for n in range(10):
        east.worker(f"dead{n}", slots=2, used=0, score=0.6)
        east.raw.zadd(east.key("hb"), {f"dead{n}": 1})
    assert east.store.seek("school", "maths", []).best_score is None
    east.worker("alive", slots=2, used=0, score=0.4)
    assert east.store.seek("school", "maths", []).best_score == 0.4
