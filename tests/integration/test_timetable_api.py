"""The timetable over HTTP: at the home cell, a whole one, and at a cell that is not home."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from control.adapters.store import ValkeyStore
from control.services import access, timetable_copy
from ops import cli
from ops.cell.cell import Cell
from ops.cell.wires import Wire
from tests.integration.away_cell import EAST, LINK, WEST, AwayCell
from tests.integration.peer_parts import PlayedPeer
from tests.integration.saga_worker import SagaWorker

PATH = "/api/v1/timetable"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAPIDO_SCHEDULE_SCALE", "60")  # a tick a second
        folder = tmp_path_factory.mktemp("home")
        with Cell(name=EAST, region=EAST, workers=0, peers=(LINK,), state_dir=folder) as running:
            yield running


@pytest.fixture(autouse=True)
def empty(home: Cell) -> Iterator[None]:
    yield
    with psycopg.connect(home.database_url) as connection:
        connection.execute("truncate timetable")


class Client:
    """A tenant's."""

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=15
        )

    def put(self, *classes: dict[str, Any]) -> httpx.Response:
        return self.http.put(PATH, json={"classes": classes})

    def all(self, **query: str) -> list[dict[str, Any]]:
        answer = self.http.get(PATH, params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["classes"])


@pytest.fixture
def client(home: Cell) -> Client:
    return Client(home.url, home.client_key)


@pytest.fixture
def other(home: Cell) -> Client:
    """Of another tenant."""
    key = access.new_key()
    store = ValkeyStore(home.store_url, home.name, home.region)
    store.put_key(access.digest(key), {"tenant": "other", "role": "client"})
    return Client(home.url, key)


def coming(hours: float = 24.0) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


def a_class(class_id: str = "math", start: datetime | str | None = None, **more: Any) -> Any:
    begins = start if isinstance(start, str) else (start or coming()).isoformat()
    return {"class_id": class_id, "start": begins, "duration_minutes": 45, "expected": 24} | more


def fault_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == "urn:rapido:problem:invalid-request"
    (fault,) = body["errors"]
    assert fault["fault"]
    assert fault["remedy"]
    return dict(fault)


# At home


def test_a_class_is_announced_read_and_removed(client: Client) -> None:
    start = coming()

    answer = client.put(a_class(start=start, regions={EAST: 0.6, WEST: 0.4}, hold=20))

    assert answer.status_code == 200
    assert answer.json() == {"taken": 1, "changed": 1, "unchanged": 0}
    (found,) = client.all()
    assert found.pop("announced_at")
    told = start.isoformat().replace("+00:00", "Z")
    assert found == {
        "class_id": "math",
        "start": told,
        "end": (start + timedelta(minutes=45)).isoformat().replace("+00:00", "Z"),
        "duration_minutes": 45,
        "expected": 24,
        "regions": {EAST: 0.6, WEST: 0.4},
        "hold": 20,
        "hold_minutes": 10,
    }
    for _ in range(2):
        assert client.http.delete(f"{PATH}/math").status_code == 204
    assert client.all() == []


def test_the_same_again_is_unchanged_and_what_is_other_is_changed(client: Client) -> None:
    start = coming()
    client.put(a_class(start=start), a_class("art", start))

    again = client.put(a_class(start=start), a_class("art", start, expected=9), a_class("music"))

    assert again.json() == {"taken": 3, "changed": 2, "unchanged": 1}
    assert {one["class_id"]: one["expected"] for one in client.all()} == {
        "math": 24,
        "art": 9,
        "music": 24,
    }


def test_a_class_without_regions_is_of_the_cells_own(client: Client) -> None:
    client.put(a_class())

    assert client.all()[0]["regions"] == {EAST: 1.0}


@pytest.mark.parametrize(
    ("written", "utc"),
    [("T09:00:00+01:00", "T08:00:00Z"), ("T23:30-05:00", "T04:30:00Z"), ("T09:00Z", "T09:00:00Z")],
)
def test_a_time_in_another_zone_is_the_moment_that_it_says(
    client: Client, written: str, utc: str
) -> None:
    day = coming(48).date()
    client.put(a_class(start=f"{day}{written}"))

    (found,) = client.all()
    later = day + timedelta(days=1) if utc == "T04:30:00Z" else day
    assert found["start"] == f"{later}{utc}"


def test_tenants_do_not_see_each_others_classes(client: Client, other: Client) -> None:
    client.put(a_class())

    other.put(a_class(expected=3))
    other.http.delete(f"{PATH}/math")

    assert other.all() == []
    assert [one["expected"] for one in client.all()] == [24]


def test_an_operators_key_is_its_own_tenants(home: Cell, client: Client) -> None:
    operator = Client(home.url, home.operator_key)

    assert operator.put(a_class()).status_code == 200
    assert [one["class_id"] for one in client.all()] == ["math"]


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_nothing_is_told_without_a_key(home: Cell, method: str) -> None:
    assert httpx.request(method, home.url + PATH, json={}).status_code == 401


def test_pages_follow_each_other(client: Client) -> None:
    start = coming()
    many = [a_class(f"c{n:03}", start + timedelta(minutes=n)) for n in range(501)]
    assert client.put(*many).json()["taken"] == 501

    first = client.http.get(PATH).json()
    second = client.http.get(PATH, params={"cursor": first["cursor"]}).json()

    ids = [one["class_id"] for one in first["classes"] + second["classes"]]
    assert ids == [f"c{n:03}" for n in range(501)]
    assert second["cursor"] is None


def test_classes_are_read_and_removed_by_when_they_begin(client: Client) -> None:
    start = coming()
    client.put(*(a_class(f"c{n}", start + timedelta(hours=n)) for n in range(4)))
    span = {
        "from": (start + timedelta(hours=1)).isoformat(),
        "to": (start + timedelta(hours=3)).isoformat(),
    }

    assert [one["class_id"] for one in client.all(**span)] == ["c1", "c2"]
    for _ in range(2):
        assert client.http.delete(PATH, params=span).status_code == 204
    assert [one["class_id"] for one in client.all()] == ["c0", "c3"]


def test_an_id_with_odd_characters_is_removed_by_its_name(client: Client) -> None:
    odd = "Mathe 7b+ü@schule.example_20270131T0800Z"
    client.put(a_class(odd))

    assert client.http.delete(f"{PATH}/{quote(odd, safe='')}").status_code == 204
    assert client.all() == []


def test_a_class_that_runs_may_be_changed_and_is_not_begun_anew(home: Cell, client: Client) -> None:
    start = coming()
    client.put(a_class(start=start))
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    with psycopg.connect(home.database_url) as connection:  # time passes
        connection.execute(
            "update timetable set start_at = %s, end_at = %s",
            (began, began + timedelta(minutes=45)),
        )

    assert client.put(a_class(start=began, expected=30)).json()["changed"] == 1
    assert fault_of(client.put(a_class(start=coming())))["field"] == "classes.0.start"
    assert fault_of(client.put(a_class("art", began)))["field"] == "classes.0.start"


# Bad input

PAST = (datetime.now(UTC) - timedelta(days=2)).isoformat()
FAR = (datetime.now(UTC) + timedelta(days=370)).isoformat()
TOMORROW = str((datetime.now(UTC) + timedelta(days=1)).date())


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"start": PAST}, "start", "is past: the class ended at"),
        ({"start": FAR}, "start", "more than a year ahead"),
        ({"start": f"{TOMORROW}T09:00:00"}, "start", "has no offset"),
        ({"start": TOMORROW}, "start", "is no RFC 3339 time"),
        ({"start": "tomorrow"}, "start", "is no RFC 3339 time"),
        ({"start": f"{TOMORROW}T25:00:00Z"}, "start", "is no RFC 3339 time"),
        ({"start": "2027-02-30T09:00:00Z"}, "start", "is no RFC 3339 time"),
        ({"start": 1_900_000_000}, "start", "is no RFC 3339 time"),
        ({"expected": 1_000_000}, "expected", "less than or equal to 5000"),
        ({"expected": 0}, "expected", "greater than or equal to 1"),
        ({"duration_minutes": 0}, "duration_minutes", "greater than or equal to 1"),
        ({"duration_minutes": 2880}, "duration_minutes", "less than or equal to 720"),
        ({"regions": {"moon": 1.0}}, "regions.moon.[key]", "should match pattern"),
        ({"regions": {"ap-south-1": 1.0}}, "regions.ap-south-1", "has no cell"),
        ({"regions": {EAST: 0.5, WEST: 0.3}}, "regions", "sum to 0.8"),
        ({"regions": {EAST: 0}}, f"regions.{EAST}", "greater than 0"),
        ({"hold": 25}, "hold", "more than the 24 expected"),
        ({"hold": 5, "hold_minutes": 46}, "hold_minutes", "longer than the class"),
        ({"hold_minutes": 5}, "hold_minutes", "without hold"),
        ({"class_id": "a/b"}, "class_id", "should match pattern"),
        ({"class_id": ""}, "class_id", "at least 1 character"),
        ({"expects": 24}, "expects", "not permitted"),
    ],
)
def test_a_bad_class_is_refused_with_its_place_and_none_of_the_call_is_taken(
    client: Client, wrong: dict[str, Any], field: str, words: str
) -> None:
    answer = client.put(a_class("good"), a_class() | wrong)

    fault = fault_of(answer)
    assert fault["field"] == f"classes.1.{field}"
    assert words in fault["fault"]
    assert client.all() == []


def test_a_class_id_twice_in_one_call_is_refused(client: Client) -> None:
    twice = fault_of(client.put(a_class(), a_class(start=coming(72))))

    assert twice["field"] == "classes.1.class_id"
    assert "overlap" in fault_of(client.put(a_class(), a_class(start=coming(24.5))))["fault"]


@pytest.mark.parametrize("count", [0, 1001])
def test_no_class_or_more_than_a_thousand_are_refused(client: Client, count: int) -> None:
    start = coming()

    fault = fault_of(client.put(*(a_class(f"c{n}", start) for n in range(count))))

    assert fault["field"] == "classes"


def test_a_body_of_megabytes_is_refused_before_it_is_read(client: Client) -> None:
    fault = fault_of(client.put(a_class("x" * 600_000)))

    assert (fault["field"], fault["remedy"]) == ("body", "send at most 524288")


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"from": "2027-01-31T09:00:00"}, "from", "%2B"),
        ({"to": "soon"}, "to", "send day, time and offset"),
        ({"from": "2027-02-01T00:00Z", "to": "2027-01-01T00:00Z"}, "to", "has a length"),
        ({"cursor": "guessed"}, "cursor", "page before"),
        ({"cursor": "WyJub3doZXJlIl0"}, "cursor", "page before"),
        ({"form": "2027-01-31T09:00Z"}, "form", "known here are from, to, cursor"),
    ],
)
def test_a_bad_query_is_refused_with_a_remedy(
    client: Client, query: dict[str, str], field: str, words: str
) -> None:
    fault = fault_of(client.http.get(PATH, params=query))

    assert fault["field"] == field
    assert words in fault["remedy"]


def test_a_plus_that_an_address_made_a_space_is_told(client: Client) -> None:
    answer = client.http.get(f"{PATH}?from=2027-01-31T09:00:00+01:00")

    assert "%2B" in fault_of(answer)["remedy"]


@pytest.mark.parametrize(("given", "missing"), [("from", "to"), ("to", "from")])
def test_nothing_is_removed_where_an_end_of_the_time_was_left_out(
    client: Client, given: str, missing: str
) -> None:
    client.put(a_class())

    answer = client.http.delete(PATH, params={given: coming(-99).isoformat()})

    assert fault_of(answer)["field"] == missing
    assert len(client.all()) == 1


# At a cell that is not home


class Away(AwayCell):
    """With what the timetable needs of it."""

    def put(self, *classes: dict[str, Any], **headers: str) -> httpx.Response:
        return self.call("PUT", PATH, {"classes": classes}, **headers)

    def pull(self) -> str:
        self.store.release("timetable")
        return timetable_copy.refresh(self.cell, time.time())


@pytest.fixture
def away(home: Cell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    wire = Wire(int(home.url.rpartition(":")[2]))
    yield Away(home, wire, home.client_key, monkeypatch)
    wire.close()


def test_any_cell_takes_a_class_and_the_home_cell_keeps_it(away: Away, client: Client) -> None:
    answer = away.put(a_class(), a_class("art", regions={EAST: 1.0}))

    assert answer.json() == {"taken": 2, "changed": 2, "unchanged": 0}
    regions = {one["class_id"]: one["regions"] for one in client.all()}
    assert regions == {"math": {WEST: 1.0}, "art": {EAST: 1.0}}


def test_any_cell_reads_and_removes(away: Away, client: Client) -> None:
    start = coming()
    client.put(a_class("Mathe 7b+ü", start), a_class("art", start))
    query = urlencode({"from": start.isoformat()})

    found = away.call("GET", f"{PATH}?{query}").json()["classes"]
    assert {one["class_id"] for one in found} == {"Mathe 7b+ü", "art"}

    assert away.call("DELETE", f"{PATH}/{quote('Mathe 7b+ü', safe='')}").status_code == 204
    assert [one["class_id"] for one in client.all()] == ["art"]
    until = urlencode({"to": (start + timedelta(hours=1)).isoformat()})
    assert away.call("DELETE", f"{PATH}?{query}&{until}").status_code == 204
    assert client.all() == []


def test_what_the_home_cell_refuses_is_told_in_its_words(away: Away) -> None:
    fault = fault_of(away.put(a_class(regions={"ap-south-1": 1.0})))

    assert fault["field"] == "classes.0.regions.ap-south-1"


def test_a_home_cell_that_is_away_is_told_with_when_to_come_again(away: Away) -> None:
    away.put(a_class())  # its key is known here from now on
    away.wire.cut()

    began = time.monotonic()
    answer = away.put(a_class())

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["type"] == "urn:rapido:problem:unavailable"
    assert f"kept in the cell {EAST}, which does not answer" in answer.json()["detail"]
    assert time.monotonic() - began < 12


def test_a_call_that_made_its_hop_to_a_cell_that_is_not_home_goes_no_further(
    away: Away, client: Client
) -> None:
    assert away.put(a_class(), **{"x-rapido-hop": "1"}).status_code == 503
    assert client.all() == []


# Copies


def test_a_cell_pulls_its_own_regions_part_and_keeps_it_while_home_is_away(
    away: Away, client: Client
) -> None:
    client.put(
        a_class(regions={EAST: 0.5, WEST: 0.5}, hold=10), a_class("east", regions={EAST: 1.0})
    )

    assert away.pull() == ""

    (found,) = away.store.timetable()
    assert (found.tenant, found.class_id, found.expected, found.hold) == ("demo", "math", 12.0, 5)
    version = away.store.timetable_version()
    assert away.pull() == ""
    assert away.store.timetable_version() == version

    away.wire.cut()
    assert "the copy stays" in away.pull()
    assert away.store.timetable() == (found,)

    away.wire.mend()
    client.http.delete(f"{PATH}/math")
    deadline = time.monotonic() + 30  # it was left alone for a while
    while away.pull():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert away.store.timetable() == ()


def test_the_home_cells_own_tick_copies_its_part(home: Cell, client: Client) -> None:
    client.put(a_class())
    store = ValkeyStore(home.store_url, home.name, home.region)
    deadline = time.monotonic() + 30
    while [one.class_id for one in store.timetable()] != ["math"]:
        assert time.monotonic() < deadline
        store.release("timetable")  # else the tick pulls once a minute
        time.sleep(0.2)


def test_only_a_peer_is_told_the_classes_of_all_tenants(home: Cell) -> None:
    path = "/api/v1/cell/timetable"
    assert httpx.get(home.url + path).status_code == 403
    headers = {"Authorization": f"Bearer {home.operator_key}"}
    assert httpx.get(home.url + path, headers=headers).status_code == 403
    stranger = PlayedPeer(WEST, WEST)
    assert stranger.call(home, "GET", path, b"").status_code == 403
    stranger.close()
    with SagaWorker(home.url, home.new_identity(), "plays", 1) as worker:
        assert worker.call("GET", path, {}).status_code == 403


# From the call to the slot


def test_a_class_that_begins_finds_its_slots_and_who_came_is_in_the_records(
    home: Cell, client: Client
) -> None:
    store = ValkeyStore(home.store_url, home.name, home.region)
    start = datetime.now(UTC) + timedelta(minutes=1)
    client.put(a_class("exam", start, expected=3, hold=3))

    with SagaWorker(home.url, home.new_identity(), "plays", 4) as worker:

        def until(holds: Callable[[], bool], what: str) -> None:
            deadline = time.monotonic() + 40
            while not holds():
                assert time.monotonic() < deadline, what
                worker.beat()
                store.release("timetable")  # else the tick pulls once a minute
                time.sleep(0.2)

        until(lambda: store.observe().held == 3, "no slot is held")
        lessons = [{"lesson_id": secrets.token_hex(4), "wait": False} for _ in range(3)]
        walk_ins = [client.http.post("/api/v1/sessions", json=one) for one in lessons[:2]]
        pupil = client.http.post("/api/v1/sessions", json=lessons[2] | {"class_id": "exam"})
        assert [one.status_code for one in walk_ins] == [201, 503]
        assert pupil.status_code == 201

        with psycopg.connect(home.database_url, autocommit=True) as records:
            for change in ("start_at = start_at - interval '25 min'", "end_at = now() + '20 min'"):
                records.execute(f"update timetable set {change}".encode())  # time passes
            records.execute("update timetable_version set version = version + 1")
            query = "select class_id, region, announced, came from attendance"
            until(lambda: records.execute(query).fetchone() is not None, "nobody was counted")
            assert records.execute(query).fetchall() == [("exam", EAST, 3.0, 1)]
        until(lambda: store.observe().held == 0, "slots are held after their time")
        for one in (walk_ins[0], pupil):
            client.http.delete(f"/api/v1/sessions/{one.json()['session_id']}")


# By the command


def test_a_file_is_announced_shown_and_removed_by_the_command(
    home: Cell, client: Client, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPIDO_URL", home.url)
    monkeypatch.setenv("RAPIDO_KEY", home.client_key)
    day = coming(48).date()
    rows = "".join(f"c{n:04},{day}T09:00,45,24\n" for n in range(1200))
    file = tmp_path / "classes.csv"
    file.write_text("class_id,start,duration_minutes,expected\n" + rows)

    def run(*words: str) -> Any:
        result = CliRunner().invoke(cli.app, ["timetable", *words])
        assert result.exit_code == 0, result.output
        return result

    told = json.loads(run("import", str(file), "--timezone", "Europe/Berlin", "--json").stdout)
    assert told == {"classes": 1200, "bad": 0, "taken": 1200, "changed": 1200, "unchanged": 0}
    shown = json.loads(run("show", "--json").stdout)["classes"]
    assert [one["class_id"] for one in shown] == [f"c{n:04}" for n in range(1200)]
    run("remove", "c0000")
    run("remove", "--from", str(day), "--to", str(day + timedelta(days=1)))
    assert client.all() == []


def test_what_the_cell_refuses_is_told_by_the_files_lines(
    home: Cell, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPIDO_URL", home.url)
    monkeypatch.setenv("RAPIDO_KEY", home.client_key)
    file = tmp_path / "classes.csv"
    head = "class_id,start,duration_minutes,expected,regions\n"
    file.write_text(f"{head}a,{TOMORROW}T09:00Z,45,24,\nb,{TOMORROW}T09:00Z,45,24,ap-south-1\n")

    result = CliRunner().invoke(cli.app, ["timetable", "import", str(file)])

    assert result.exit_code == 1
    assert "line 3: regions.ap-south-1 has no cell" in result.output.replace("\n", " ")
