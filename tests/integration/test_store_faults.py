"""A store that is full, read-only, slow or empty: told clearly, and nothing is half done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.adapters import store as adapter
from control.services.ports import StoreAway
from ops.cell.supervisor import Supervisor
from ops.cell.valkey import start_valkey
from tests.integration.test_store import FACTS, Desk


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A store of this test's own, to be ill-treated."""
    supervisor = Supervisor(tmp_path / "logs", lambda death: None)
    yield start_valkey(supervisor, tmp_path)
    supervisor.stop_all()


@pytest.fixture
def desk(server: str) -> Desk:
    desk = Desk(server)
    desk.worker("w1", 2)
    return desk


def test_a_full_store_takes_no_session_and_keeps_what_it_has(desk: Desk) -> None:
    held = desk.live("held")
    desk.raw.config_set("maxmemory-policy", "noeviction")
    desk.raw.config_set("maxmemory", 1)

    with pytest.raises(StoreAway):
        desk.place("one too many")

    desk.raw.config_set("maxmemory", 0)
    assert desk.used() == {"w1": "1"}
    assert desk.session(held.session_id).status == "live"
    assert desk.place("one too many").outcome == "placed"


def test_a_read_only_store_is_told_as_away(desk: Desk) -> None:
    desk.raw.replicaof("127.0.0.1", 1)

    with pytest.raises(StoreAway):
        desk.place("a")

    desk.raw.replicaof("NO", "ONE")
    assert desk.used() == {}
    assert desk.place("a").outcome == "placed"


def test_flushed_scripts_are_sent_again(desk: Desk) -> None:
    desk.place("a")
    desk.raw.script_flush()

    assert desk.place("b").outcome == "placed"
    assert desk.used() == {"w1": "2"}


def test_an_empty_store_after_a_restart_learns_from_the_workers(desk: Desk) -> None:
    session = desk.live("a")
    desk.raw.flushdb()
    run = [session.session_id, session.generation, True]

    assert desk.store.heartbeat("w1", desk.registrations["w1"], _heard(run)) is None
    assert desk.store.registration("w1") is None
    desk.registrations["w1"] = desk.store.register("w1", FACTS | {"boot": desk.boots["w1"]})
    reply = desk.beat("w1", 2, [run])

    assert reply.revoked == ()
    assert desk.used() == {"w1": "1"}
    assert desk.session(session.session_id).status == "live"
    assert desk.session(desk.place("b").session_id).generation > session.generation


def test_a_slow_store_is_told_as_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_ANSWER_TIMEOUT_S", 0.2)
    hasty = Desk(desk.url)
    hasty.store.ping()
    desk.raw.execute_command("CLIENT", "PAUSE", 4_000, "ALL")

    with pytest.raises(StoreAway):
        hasty.store.ping()


def _heard(run: list[object]) -> dict[str, object]:
    return {"state": "ready", "slots": 2, "avatars": "demo", "late": 0.0, "running": [run]}
