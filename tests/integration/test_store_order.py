"""The planner's order among workers, against a real Valkey: preferred, put last, closed, opened."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from control.entrypoints.sessions_api import why_view
from ops.client import replayed
from tests.integration.test_store import Desk


@pytest.fixture
def desk(valkey_url: str) -> Desk:
    return Desk(valkey_url)


def worker_of(desk: Desk, lesson: str) -> str | None:
    return desk.session(desk.place(lesson).session_id).worker_id


def shown(desk: Desk, name: str) -> dict[str, object]:
    return next(one for one in desk.store.workers() if one["worker_id"] == name)


def test_a_worker_of_lower_order_is_used_when_no_other_has_a_slot(desk: Desk) -> None:
    desk.worker("spot", 24)
    desk.worker("on-demand", 2)

    desk.store.order({"spot": -1.0})

    assert [worker_of(desk, x) for x in "abc"] == ["on-demand", "on-demand", "spot"]


def test_a_heartbeat_changes_no_order(desk: Desk) -> None:
    desk.worker("w1", 4)
    desk.worker("w2", 4)
    desk.store.order({"w1": None, "w2": -0.25})

    desk.beat("w1", 4, late=3.0)
    desk.beat("w2", 4, late=3.0)

    assert (shown(desk, "w1")["order"], shown(desk, "w2")["order"]) == (None, -0.25)
    assert desk.raw.zscore(desk.key("free"), "w1") is None


def test_a_new_life_of_a_worker_is_open_and_in_no_order(desk: Desk) -> None:
    desk.worker("w1", 4)
    desk.store.order({"w1": None})

    desk.worker("w1", 4)

    assert shown(desk, "w1")["order"] == 0.0
    assert worker_of(desk, "a") == "w1"


def test_a_closed_worker_gets_nothing_new_and_keeps_what_it_has(desk: Desk) -> None:
    desk.worker("w1", 4)
    before = desk.live("before")

    ordered = desk.store.order({"w1": None})

    assert ordered.leases == {"w1": 1}
    assert desk.place("after").outcome == "full"
    desk.beat("w1", 4, desk.running("w1"))
    assert desk.session(before.session_id).status == "live"


def test_the_last_lesson_of_a_closed_worker_frees_no_slot_for_the_queue(desk: Desk) -> None:
    desk.worker("w1", 1)
    last = desk.live("last")
    desk.place("waits", wait=True)
    desk.store.order({"w1": None})

    ended = desk.store.finish(last.session_id, 0, "ended", "done")

    assert ended.handed == ()
    assert desk.store.order({"w1": None}).leases == {"w1": 0}


def test_an_opened_worker_is_handed_to_the_queue_in_that_very_step(desk: Desk) -> None:
    desk.worker("w1", 2)
    desk.store.order({"w1": None})
    waits = desk.place("waits", wait=True)

    opened = desk.store.order({"w1": 0.0})

    assert opened.handed == (waits.session_id,)
    assert opened.leases == {"w1": 0}  # before it was handed over
    assert desk.session(waits.session_id).worker_id == "w1"


def test_closed_and_empty_stays_so_however_many_ask_at_that_moment(desk: Desk) -> None:
    """The scale-in race: what is answered as empty is never leased again."""
    for round_ in range(10):
        name = f"w{round_}"
        desk.worker(name, 50)

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(desk.place, f"{round_} {i}") for i in range(20)]
            leases = desk.store.order({name: None}).leases[name]
            outcomes = [one.result().outcome for one in asked]

        assert int(desk.used().get(name, 0)) == leases == outcomes.count("placed")


def test_a_worker_that_nobody_knows_is_not_in_the_answer(desk: Desk) -> None:
    desk.worker("w1", 1)

    assert desk.store.order({"gone": None, "w1": 0.5}).leases == {"w1": 0}
    assert desk.store.order({}).leases == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_order(desk: Desk, value: float) -> None:
    desk.worker("w1", 1)

    with pytest.raises(ValueError, match="give a finite number, or None"):
        desk.store.order({"w1": value})


def test_why_shows_the_order_and_is_chosen_again_by_it(desk: Desk) -> None:
    desk.worker("w1", 24)
    desk.worker("w2", 4)
    desk.store.order({"w1": -0.5, "w2": 0.125})

    why = why_view(desk.session(desk.place("a").session_id)).model_dump(mode="json")

    assert {one["worker_id"]: one["order"] for one in why["candidates"]} == {
        "w1": -0.5,
        "w2": 0.125,
    }
    assert why["candidates"][0]["score"] > 1.0  # the order goes on top
    assert replayed(why) == why["chosen"] == "w2"


def test_peers_are_told_scores_without_the_order(desk: Desk) -> None:
    desk.worker("w1", 24)
    plain = desk.store.seek("school", "a", []).best_score

    desk.store.order({"w1": -1.0})

    assert desk.store.seek("school", "a", []).best_score == plain == 0.6
    assert desk.store.summary("west", 10).best_score == 0.6


def test_a_worker_that_an_older_release_wrote_down_works_on(desk: Desk) -> None:
    """While a release goes out, functions of both write."""
    desk.worker("w1", 4)
    raw = desk.raw.hget(desk.key("w"), "w1") or ""
    older = raw.replace("|ready|0|", "|ready|")
    assert older != raw
    desk.raw.hset(desk.key("w"), "w1", older)

    session = desk.session(desk.place("a").session_id)

    assert shown(desk, "w1")["order"] == 0.0
    assert session.why["candidates"][0]["order"] == 0.0
    assert desk.beat("w1", 4, desk.running("w1")) is not None
    assert desk.store.order({"w1": None}).leases == {"w1": 1}
