"""A cell's copy of the timetable, and what it learnt, in a real Valkey."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from control.adapters.store import ValkeyStore
from control.domain.fleet.timetable import Attendance, PlannedClass, hour_of

START_S = 1_800_000_000.25
MATH = PlannedClass("school", "math", START_S, 2700.0, 14.4, START_S - 9000, 10, 600.0)


class Clock:
    """Unix ms."""

    def __init__(self) -> None:
        self.now_ms = int(START_S * 1000) + 1_200_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(valkey_url: str, clock: Clock) -> ValkeyStore:
    return ValkeyStore(valkey_url, "timetable" + secrets.token_hex(4), "us-east-1", clock)


def test_a_store_without_a_copy_has_no_class_and_no_version(store: ValkeyStore) -> None:
    assert (store.timetable(), store.timetable_version()) == ((), "")


def test_the_copy_is_read_as_it_was_put_and_replaced_whole(store: ValkeyStore) -> None:
    store.put_timetable("7.500000", [MATH, replace(MATH, class_id="art|ü", hold=0)])
    assert store.timetable() == (MATH, replace(MATH, class_id="art|ü", hold=0))

    store.put_timetable("8.500000", [MATH])

    assert (store.timetable(), store.timetable_version()) == ((MATH,), "8.500000")


def test_attendance_is_learnt_as_the_domain_says(store: ValkeyStore) -> None:
    art = replace(MATH, class_id="art", expected=30.0)

    assert store.learn(MATH, 12)
    assert store.learn(art, 31)

    expected = Attendance().learn(14.4, 12).learn(30.0, 31)
    assert store.attendances().known == {("school", hour_of(START_S)): expected}


def test_tenants_and_hours_are_learnt_apart(store: ValkeyStore) -> None:
    store.learn(MATH, 12)
    store.learn(replace(MATH, tenant="a|b"), 1)
    store.learn(replace(MATH, start_s=START_S + 3600), 2)

    hour = hour_of(START_S)
    assert set(store.attendances().known) == {
        ("school", hour),
        ("a|b", hour),
        ("school", hour + 1),
    }


def test_a_class_counts_once(store: ValkeyStore) -> None:
    art = replace(MATH, class_id="art")
    assert store.unlearnt([MATH, art]) == (MATH, art)

    assert store.learn(MATH, 12)
    assert not store.learn(MATH, 12)

    assert store.unlearnt([MATH, art]) == (art,)
    assert store.unlearnt([]) == ()
    assert store.attendances().known["school", hour_of(START_S)].came == 12


def test_a_class_of_the_same_id_on_another_day_counts_again(store: ValkeyStore) -> None:
    store.learn(MATH, 12)

    assert store.learn(replace(MATH, start_s=START_S + 86_400), 12)


def test_what_was_counted_is_remembered_for_a_day(store: ValkeyStore, clock: Clock) -> None:
    store.learn(MATH, 12)
    clock.now_ms += 23 * 3_600_000
    store.learn(replace(MATH, class_id="art"), 1)
    assert store.unlearnt([MATH]) == ()

    clock.now_ms += 2 * 3_600_000
    store.learn(replace(MATH, class_id="music"), 1)

    assert store.unlearnt([MATH]) == (MATH,)
