"""The store's one user on AWS: what infra/stores.yaml lets it do is what the cell does, no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import valkey
from cfnlint.decode.cfn_yaml import load
from valkey.exceptions import NoPermissionError

from control.adapters.store import ValkeyStore
from control.domain.fleet.costs import Cost
from control.domain.fleet.published import Shadow
from control.domain.fleet.timetable import PlannedClass
from control.services.cost_ports import Accounted
from ops.cell.files import ROOT
from ops.cell.supervisor import Supervisor
from ops.cell.valkey_cluster import start_valkey_cluster
from tests.integration.test_store import FACTS, Desk

USER = "rapido-west"


def rules(cell: str) -> list[str]:
    """Of AWS's access string, as Valkey's ACL SETUSER takes them."""
    user = load(str(ROOT / "infra" / "stores.yaml"))["Resources"]["StoreUser"]["Properties"]
    return str(user["AccessString"]["Fn::Sub"]).replace("${CellName}", cell).split()


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made up")


@pytest.fixture(params=["one node", "cluster"])
def desk(
    request: pytest.FixtureRequest, valkey_url: str, tmp_path: Path, role: None
) -> Iterator[tuple[Desk, ValkeyStore]]:
    """A cell's store, entered as that user: any password does, since only AWS can check a token."""
    del role
    if request.param == "one node":
        known = Desk(valkey_url)
        known.raw.execute_command("ACL", "SETUSER", USER, "reset", "nopass", *rules(known.cell))
        at = urlsplit(valkey_url)
        url = f"redis://{USER}@{at.hostname}:{at.port}/0?iam=rapido-west"
        yield known, ValkeyStore(url, known.cell, "us-west-2")
        known.raw.execute_command("ACL", "DELUSER", USER)
        return
    supervisor = Supervisor(tmp_path / "logs", lambda death: None)
    try:
        cluster = start_valkey_cluster(supervisor, tmp_path)
        known = Desk(valkey_url)
        for part in cluster.ports:
            cluster.node(part).execute_command(
                "ACL", "SETUSER", USER, "reset", "nopass", *rules(known.cell)
            )
        port = next(iter(cluster.ports.values()))
        url = f"redis://{USER}@127.0.0.1:{port}/0?cluster=true&iam=rapido-west"
        yield known, ValkeyStore(url, known.cell, "us-west-2")
    finally:
        supervisor.stop_all()


def test_a_session_lives_and_ends_by_the_stores_user(desk: tuple[Desk, ValkeyStore]) -> None:
    known, store = desk
    store.ping()
    registration = store.register("w-1", FACTS | {"boot": "b-1"})
    heard = {"state": "ready", "slots": 1, "avatars": "demo", "late": 0.0, "running": []}

    assert store.heartbeat("w-1", registration, heard) is not None
    placed = store.place(known.ask("algebra"))
    assert placed.outcome == "placed"
    session = store.session(placed.session_id)
    assert session is not None
    assert store.used("w-1") == 1
    assert store.confirm(placed.session_id, session.generation)
    assert store.finish(placed.session_id, session.generation, "ended", "over").changed
    store.sent(store.outbox(10))
    store.reap(30)
    store.put_key("d" * 64, {"tenant": "school"})

    assert store.key("d" * 64) == {"tenant": "school"}
    assert store.spend("school", 5) == 0
    assert [one["worker_id"] for one in store.workers()] == ["w-1"]
    assert store.page(None, None, 10)[0][0].status == "ended"
    assert store.hold("school", "9a", 1, time.time() + 60).count == 1
    assert store.observe().held == 1
    assert store.order({"w-1": None}).leases == {"w-1": 0}
    assert store.unhold("school", "9a").count == 0
    planned = PlannedClass("school", "9a", time.time(), 2700.0, 24.0)
    store.put_timetable("1.1", [planned])
    assert store.timetable() == (planned,)
    assert store.timetable_version() == "1.1"
    assert store.unlearnt([planned]) == (planned,)
    assert store.learn(planned, 20)
    assert len(store.attendances().known) == 1
    accounted = Accounted(1.0, Shadow(2, 1.0))
    assert store.account(None, accounted, {("2027-01-31", "pool"): Cost(1.0, 2.0, 3.0)})
    assert store.accounted() == accounted
    assert store.costs() == {("2027-01-31", "pool"): Cost(1.0, 2.0, 3.0)}
    store.forget_costs(["2027-01-31"])
    assert store.costs() == {}
    assert store.drain("w-1")


def test_the_stores_user_can_neither_see_other_keys_nor_run_the_server(
    desk: tuple[Desk, ValkeyStore],
) -> None:
    _, store = desk
    client: valkey.Valkey = store._valkey

    for command in (("GET", "{other}:w"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*")):
        with pytest.raises(NoPermissionError):
            client.execute_command(*command)
