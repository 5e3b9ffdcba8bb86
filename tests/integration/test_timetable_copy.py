"""What a cell's tick does by its copy: it pulls, holds and learns. The store is a real Valkey."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from control.adapters.records import PostgresRecords
from control.adapters.timetable_records import PostgresAnnouncements
from control.contracts.timetable import PutTimetable, TimetableTaken
from control.domain.errors import RapidoError, unavailable
from control.domain.fleet.announcing import Announcement
from control.domain.fleet.timetable import Attendance, PlannedClass
from control.domain.geography import REGIONS
from control.services import timetable, timetable_copy
from control.services.peer_ports import Peer, PeerAnswer, PeerAway
from control.services.ports import Cell
from tests.integration.test_store import Desk

EAST, WEST = "us-east-1", "us-west-2"
NOW_S = 1_800_000_000.0
HOME = Peer("home", EAST, REGIONS[EAST], "http://home")
MATH = PlannedClass("school", "math", NOW_S + 60, 2700.0, 24.0, NOW_S - 9000, 10, 600.0)


class Calls:
    """A home cell that answers as it is told; ``asked`` are the queries."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.answers: list[PeerAnswer | PeerAway] = []

    def call(
        self, peer: Peer, method: str, path: str, body: None, headers: object, timeout_s: float,
        *, signed: bool,
    ) -> PeerAnswer:  # fmt: skip
        assert (peer, method, signed) == (HOME, "GET", True)
        assert timeout_s > 0
        assert path.startswith("/api/v1/cell/timetable?")
        self.asked.append(parse_qs(urlsplit(path).query, keep_blank_values=True))
        answer = self.answers.pop(0)
        if isinstance(answer, PeerAway):
            raise answer
        return answer


class Queue:
    """Takes messages, or is away."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.away = False

    def send(self, entries: Sequence[str]) -> None:
        assert len(entries) <= 10
        if self.away:
            raise unavailable("records queue")
        self.sent += [json.loads(entry) for entry in entries]


class Away:
    """A cell that is not home; ``desk`` is its store, with a clock to be turned."""

    def __init__(self, valkey_url: str) -> None:
        self.desk = Desk(valkey_url)
        self.desk.now_ms = int(NOW_S * 1000)
        self.store = self.desk.store
        self.calls, self.queue = Calls(), Queue()
        self.cell: Cell = SimpleNamespace(  # type: ignore[assignment]
            name=WEST,
            region=WEST,
            home="home",
            store=self.store,
            announcements=None,
            peers=(HOME,),
            peer_calls=self.calls,
            queue=self.queue,
        )

    def pull(self, *answers: PeerAnswer | PeerAway) -> str:
        self.calls.answers = list(answers)
        self.store.release("timetable")
        told = timetable_copy.refresh(self.cell, NOW_S)
        assert self.calls.answers == [], "it did not ask for all of it"
        return told


@pytest.fixture
def away(valkey_url: str) -> Away:
    return Away(valkey_url)


def told(
    version: str, *classes: PlannedClass, cursor: str | None = None, **more: Any
) -> PeerAnswer:
    rows = [one.__dict__ for one in classes]
    body = {"version": version, "classes": rows, "cursor": cursor, "unchanged": False}
    return PeerAnswer(200, body | more, {})


# Pulling


def test_the_copy_is_what_the_home_cell_tells(away: Away) -> None:
    assert away.pull(told("1.500000", MATH)) == ""

    assert away.store.timetable() == (MATH,)
    assert away.calls.asked == [{"since": [""]}]


def test_an_unchanged_timetable_is_told_by_its_version_alone(away: Away) -> None:
    away.pull(told("1.500000", MATH))

    assert away.pull(told("1.500000", unchanged=True)) == ""

    assert away.calls.asked[-1] == {"since": ["1.500000"]}
    assert away.store.timetable() == (MATH,)


def test_pages_are_put_together_and_a_class_that_moved_between_them_is_there_once(
    away: Away,
) -> None:
    moved = replace(MATH, start_s=NOW_S + 999)
    art = replace(MATH, class_id="art")

    away.pull(told("1.500000", MATH, cursor="more"), told("2.500000", art, moved))

    assert set(away.store.timetable()) == {art, moved}
    assert away.calls.asked[1] == {"since": [""], "cursor": ["more"]}
    assert away.store.timetable_version() == "1.500000", "so that all of it is pulled again"


@pytest.mark.parametrize(
    "answer",
    [
        PeerAway("it is dark"),
        PeerAnswer(503, {"detail": "its database is away"}, {}),
        PeerAnswer(200, {"version": "x"}, {}),
        PeerAnswer(200, {"version": "1.1", "classes": [{"tenant": "school"}]}, {}),
    ],
)
def test_a_home_cell_that_is_away_or_talks_nonsense_leaves_the_copy_as_it_was(
    away: Away, answer: PeerAnswer | PeerAway
) -> None:
    away.pull(told("1.500000", MATH))

    assert "the copy stays as it was" in away.pull(answer)

    assert away.store.timetable() == (MATH,)
    assert away.store.timetable_version() == "1.500000"


def test_a_page_that_does_not_come_leaves_the_copy_as_it_was(away: Away) -> None:
    away.pull(told("1.500000", MATH))

    away.pull(told("2.500000", replace(MATH, class_id="art"), cursor="more"), PeerAway("dark"))

    assert away.store.timetable() == (MATH,)


def test_it_is_pulled_once_a_minute_whatever_ticks(away: Away) -> None:
    away.pull(told("1.500000", MATH))

    assert timetable_copy.refresh(away.cell, NOW_S) == ""

    assert len(away.calls.asked) == 1


def test_a_copy_is_bounded_by_the_soonest_classes(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timetable_copy, "MOST_CLASSES", 3)
    many = [replace(MATH, class_id=f"c{n}", start_s=NOW_S + n) for n in range(4)]

    away.pull(told("1.500000", *many[:2], cursor="a"), told("1.500000", *many[2:], cursor="b"))

    assert away.store.timetable() == tuple(many[:3])


# At home


ALGEBRA = Announcement("math", NOW_S + 60, 2700.0, 24, {EAST: 0.5, WEST: 0.5}, 10, 600.0)


@pytest.fixture
def home(away: Away, postgres_url: str) -> Iterator[Cell]:
    """A cell with the records, in the east."""
    kept = PostgresAnnouncements(PostgresRecords(postgres_url, EAST))
    yield replace_in(away.cell, announcements=kept, region=EAST)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("truncate timetable")


def replace_in(cell: Cell, **changes: Any) -> Cell:
    changed: Any = SimpleNamespace(**{**vars(cell), **changes})
    return changed


def announce(home: Cell, *classes: Announcement, tenant: str = "school") -> None:
    timetable.home(home).put(tenant, classes, NOW_S, lambda known, coming: None)


def test_the_home_cell_copies_from_its_own_records(away: Away, home: Cell) -> None:
    announce(home, ALGEBRA)
    announce(home, replace(ALGEBRA, shares={WEST: 1.0}), tenant="other")

    assert timetable_copy.refresh(home, NOW_S) == ""

    (found,) = away.store.timetable()
    assert replace(found, known_s=MATH.known_s) == replace(MATH, expected=12.0, hold=5)


def test_a_window_has_what_ended_a_little_ago_and_what_begins_within_eight_days(
    home: Cell,
) -> None:
    ends_s = {"over": -3 * 3600 - 1, "ended": -2 * 3600 + 1, "runs": 60, "soon": 8 * 86_400}
    starts_s = {name: NOW_S + at_s - 2700 for name, at_s in ends_s.items()}
    starts_s["far"] = NOW_S + 9 * 86_400
    announce(home, *(replace(ALGEBRA, class_id=c, start_s=at) for c, at in starts_s.items()))

    _, classes, _ = timetable.window(home, EAST, "", None, NOW_S)

    assert [one.class_id for one in classes or ()] == ["ended", "runs", "soon"]


def test_a_window_is_another_when_something_changed_or_an_hour_passed(home: Cell) -> None:
    announce(home, ALGEBRA)
    version, classes, _ = timetable.window(home, EAST, "", None, NOW_S)
    assert classes is not None

    assert timetable.window(home, EAST, version, None, NOW_S + 1) == (version, None, None)
    assert timetable.window(home, EAST, version, None, NOW_S + 3600)[1] is not None
    timetable.home(home).remove("school", "math")
    assert timetable.window(home, EAST, version, None, NOW_S)[1] == []


def test_a_window_of_many_pages_has_every_class_once(
    away: Away, home: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timetable, "PAGE", 3)
    at = [NOW_S + n // 2 for n in range(8)]
    announce(home, *(replace(ALGEBRA, class_id=f"c{n}", start_s=at[n]) for n in range(8)))

    timetable_copy.refresh(home, NOW_S)

    assert [one.class_id for one in away.store.timetable()] == [f"c{n}" for n in range(8)]


def test_a_tenant_may_announce_so_many_classes_and_no_more(
    home: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timetable, "MOST_COMING", 2)
    now = datetime.fromtimestamp(NOW_S, UTC)

    def put(*names: str) -> TimetableTaken:
        start = now + timedelta(hours=1)
        classes = [
            {"class_id": name, "start": start.isoformat(), "duration_minutes": 45, "expected": 9}
            for name in names
        ]
        asked = PutTimetable.model_validate({"classes": classes})
        return timetable.put(home, "school", asked, now)

    assert put("math", "art").changed == 2
    assert put("math", "art").unchanged == 2
    with pytest.raises(RapidoError, match="2 classes to come of at most 2") as told:
        put("music")
    assert told.value.slug == "timetable-full"


# Holding


def hold(away: Away) -> int:
    """As a tick does."""
    return timetable_copy.hold(away.cell, away.store.observe().classes, NOW_S)


def test_slots_are_held_while_a_class_begins_and_every_tick_keeps_their_number(
    away: Away,
) -> None:
    away.desk.worker("w1", 16)
    later = replace(MATH, class_id="later", start_s=NOW_S + 9000)
    away.store.put_timetable("1.1", [MATH, later, replace(MATH, class_id="no", hold=0)])

    for _ in range(2):
        assert hold(away) == 10

    assert away.desk.used() == {"w1": "10"}
    assert away.desk.place("pupil", tenant="school", class_id="math").outcome == "placed"
    assert hold(away) == 9, "and one that is here"


def test_fewer_are_held_where_there_are_no_more(away: Away) -> None:
    away.desk.worker("w1", 4)
    away.store.put_timetable("1.1", [MATH])

    assert hold(away) == 4


@pytest.mark.parametrize("classes", [(), (replace(MATH, start_s=NOW_S + 9000),)])
def test_slots_of_a_class_that_was_removed_or_moved_are_given_back(
    away: Away, classes: tuple[PlannedClass, ...]
) -> None:
    away.desk.worker("w1", 16)
    away.store.put_timetable("1.1", [MATH])
    hold(away)

    away.store.put_timetable("2.1", classes)

    assert hold(away) == 0
    assert away.desk.used() == {}


# Learning


LATE_S = MATH.start_s + 1200


def learn(away: Away, at_s: float = LATE_S) -> int:
    """As a tick does at that time."""
    return timetable_copy.learn(away.cell, away.store.observe().classes, at_s)


def test_who_came_is_archived_and_learnt_once(away: Away) -> None:
    away.desk.worker("w1", 16)
    away.store.put_timetable("1.1", [MATH, replace(MATH, class_id="empty")])
    for pupil in range(7):
        away.desk.place(f"pupil {pupil}", tenant="school", class_id="math")

    assert learn(away, LATE_S - 1) == 0
    assert learn(away) == 2
    assert learn(away, LATE_S + 60) == 0

    assert [(one["class_id"], one["came"]) for one in away.queue.sent] == [
        ("math", 7),
        ("empty", 0),
    ]
    assert away.queue.sent[0] == {
        "kind": "attendance",
        "tenant": "school",
        "class_id": "math",
        "region": WEST,
        "start_s": MATH.start_s,
        "announced": 24.0,
        "came": 7,
    }
    (learnt,) = away.store.attendances().known.values()
    assert learnt == Attendance().learn(24.0, 7).learn(24.0, 0)


def test_a_queue_that_is_away_leaves_the_counting_for_the_next_tick(away: Away) -> None:
    away.store.put_timetable("1.1", [MATH])
    away.queue.away = True

    with pytest.raises(RapidoError, match="records queue"):
        learn(away)
    away.queue.away = False

    assert learn(away, LATE_S + 60) == 1
    assert len(away.store.attendances().known) == 1


def test_a_tick_that_was_missed_for_an_hour_counts_then(away: Away) -> None:
    away.store.put_timetable("1.1", [MATH])

    assert learn(away, LATE_S + 3600) == 1


def test_more_classes_than_a_message_batch_are_sent_in_several(away: Away) -> None:
    away.store.put_timetable("1.1", [replace(MATH, class_id=f"c{n}") for n in range(23)])

    assert learn(away) == 23

    assert len({one["class_id"] for one in away.queue.sent}) == 23
