"""Two cells that are each other's peers, and a third one that is played by the test."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
import valkey

from control.adapters.store import ValkeyStore
from control.domain.breaker import FAILURES
from control.services import access
from control.services.peer_ports import Sought
from ops.cell.cell import Cell
from ops.cell.links import CellLink
from ops.cell.ports import free_ports
from ops.cell.prepare import make_keys
from ops.cell.wires import Wire
from tests.integration.peer_parts import PlayedPeer, send
from tests.integration.saga_worker import SagaWorker

pytestmark = pytest.mark.alone  # what peers tell is fresh for five seconds

EAST, WEST, LIAR = "us-east-1", "us-west-2", "eu-central-1"
NEAR_LIAR = {EAST: 250.0, WEST: 200.0, LIAR: 1.0}


class Side:
    """A real cell, its workers, and its store as the tests look into it."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.store = ValkeyStore(cell.store_url, cell.name, cell.region)
        self.raw = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
        self.workers: list[SagaWorker] = []
        self.running: list[dict[str, Any]] = []
        headers = {"Authorization": f"Bearer {cell.client_key}"}
        self.http = httpx.Client(base_url=cell.url, headers=headers, timeout=6)

    def key(self, name: str) -> str:
        return f"{{{self.cell.name}}}:{name}"

    def worker(self, slots: int) -> SagaWorker:
        identity = self.cell.new_identity()
        worker = SagaWorker(self.cell.url, identity, "plays", slots, self.cell.region)
        self.workers.append(worker.__enter__())
        return worker

    def create(self, lesson: str, **more: Any) -> httpx.Response:
        return self.http.post("/api/v1/sessions", json={"lesson_id": lesson} | more)

    def show(self, session_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/api/v1/sessions/{session_id}").json())

    def sought(self, lesson: str = "") -> Sought:
        return self.store.seek("demo", lesson, [EAST, WEST, LIAR])

    def beat(self) -> None:
        for worker in self.workers:
            assert worker.beat(running=self.running).status_code == 200

    def runs(self, made: dict[str, Any], learners: int) -> None:
        """Its worker tells who is in that session, from now on."""
        session_id = made["session_id"]
        generation = int(self.raw.hget(self.key(f"s:{session_id}"), "generation") or 0)
        self.running = [
            {
                "session_id": session_id,
                "generation": generation,
                "state": "live",
                "learners": learners,
            }
        ]
        self.beat()

    def clear(self) -> None:
        if "valkey" not in self.cell.parts:
            return
        for session_id in self.raw.zrange(self.key("exp"), 0, -1):
            self.http.delete(f"/api/v1/sessions/{session_id}")
        for worker in self.workers:
            worker.__exit__()
        self.workers, self.running = [], []


class World:
    """East and west, the wires between them, the played peer."""

    def __init__(self, east: Side, west: Side, wires: tuple[Wire, Wire], liar: PlayedPeer) -> None:
        self.east = east
        self.west = west
        self.wires = wires
        self.liar = liar

    def cut(self, cut: bool) -> None:
        for wire in self.wires:
            (wire.cut if cut else wire.mend)()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Beats as workers do, until it holds."""
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, what
            self.east.beat()
            self.west.beat()
            time.sleep(0.2)

    def know(self, side: Side, other: Side, free: int) -> None:
        """Until ``side`` has just heard that ``other`` has that many free slots, and is heard."""

        def holds() -> bool:
            told = side.sought().peers.get(other.cell.name)
            back = other.sought().peers.get(side.cell.name)
            talk = told is not None and back is not None and max(told.age_s, back.age_s) < 2
            return talk and told.free_slots == free

        self.until(holds, f"{side.cell.name} did not hear that {other.cell.name} has {free} free")

    def live(self, side: Side, session_id: str) -> None:
        self.until(lambda: side.show(session_id)["status"] == "live", "it did not become live")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    keys = make_keys()
    east_port, west_port = free_ports(2)
    to_east, to_west = Wire(east_port), Wire(west_port)
    liar = PlayedPeer(LIAR, LIAR)
    east = CellLink.make(EAST, EAST, to_east.url)
    west = CellLink.make(WEST, WEST, to_west.url)

    def cell(own: CellLink, other: CellLink, port: int) -> Cell:
        return Cell(
            name=own.cell, region=own.region, workers=0, port=port, link=own, keys=keys,
            peers=(other, liar.link), state_dir=tmp_path_factory.mktemp(own.cell),
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAPIDO_SCHEDULE_SCALE", "60")  # a tick a second: also an empty cell talks
        with cell(east, west, east_port) as one, cell(west, east, west_port) as other:
            yield World(Side(one), Side(other), (to_east, to_west), liar)
    liar.close()
    for wire in (to_east, to_west):
        wire.close()


@pytest.fixture
def world(whole: World) -> Iterator[World]:
    yield whole
    whole.cut(False)
    whole.liar.asked.clear()
    whole.east.clear()
    whole.west.clear()


def lesson() -> str:
    return "lesson " + secrets.token_hex(4)


def problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:rapido:problem:{slug}"
    assert answer.json()["detail"]


# Who serves


def test_a_full_cell_hands_the_request_over_and_the_session_is_the_peers(world: World) -> None:
    worker = world.west.worker(2)
    world.know(world.east, world.west, free=2)

    answer = world.east.create(lesson())

    assert answer.status_code == 201
    made = answer.json()
    assert made["session_id"].startswith(f"s-{WEST}-")
    assert made["region"] == WEST
    assert made["livekit"]["url"] == world.west.cell.livekit_url
    world.live(world.west, made["session_id"])
    assert [one["session_id"] for one in worker.started] == [made["session_id"]]


def test_a_class_stays_where_a_slot_is_held_for_it_and_is_handed_over_by_name(
    world: World,
) -> None:
    world.east.worker(1)
    world.west.worker(2)
    tenant = "demo"
    assert world.east.store.hold(tenant, "9a", 1, time.time() + 600).count == 1
    world.know(world.east, world.west, free=2)

    first, second = (world.east.create(lesson(), class_id="9a").json() for _ in range(2))

    assert [one["region"] for one in (first, second)] == [EAST, WEST]
    assert first["class_id"] == second["class_id"] == "9a"
    assert [one.came for one in world.west.store.observe().classes] == [1]


def test_what_is_handed_over_keeps_to_the_tenants_quota(world: World) -> None:
    key = "rk_" + secrets.token_urlsafe(32)
    facts = {"tenant": "small", "role": "client", "most_sessions": 1}
    world.east.store.put_key(access.digest(key), facts)
    world.west.worker(4)
    world.know(world.east, world.west, free=4)

    def create() -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"lesson_id": lesson(), "wait": False}
        return world.east.http.post("/api/v1/sessions", json=body, headers=headers)

    assert create().json()["region"] == WEST
    assert create().status_code in (429, 503)
    assert world.west.raw.hget(world.west.key("open"), "small") == "1"


def test_the_same_lesson_again_is_the_same_session_though_we_have_room_now(world: World) -> None:
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    name = lesson()
    first = world.east.create(name)
    world.east.worker(2)

    again = world.east.create(name)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["session_id"] == first.json()["session_id"]


def test_a_lesson_goes_to_the_cell_that_has_it_until_it_ends_there(world: World) -> None:
    world.east.worker(2)
    world.west.worker(2)
    name = lesson()
    there = world.west.create(name).json()["session_id"]
    world.until(lambda: WEST in world.east.sought(name).owners, "east did not hear of the lesson")

    assert world.east.create(name).json()["session_id"] == there

    world.west.http.delete(f"/api/v1/sessions/{there}")
    world.until(lambda: WEST not in world.east.sought(name).owners, "east did not hear of its end")
    assert world.east.create(name).json()["session_id"].startswith(f"s-{EAST}-")


def test_the_clients_own_round_trips_decide_before_geography(world: World) -> None:
    world.east.worker(2)
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    in_boston = {"latitude": 42.4, "longitude": -71.1}

    by_place = world.east.create(lesson(), user_location=in_boston)
    by_rtt = world.east.create(lesson(), user_location=in_boston, rtt_ms={EAST: 280, WEST: 15})

    assert by_place.json()["region"] == EAST
    assert by_rtt.json()["region"] == WEST


def test_an_idempotency_key_holds_over_a_hand_over(world: World) -> None:
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    body = {"lesson_id": lesson()}
    first = world.east.http.post("/api/v1/sessions", json=body, headers=headers)

    world.west.http.delete(f"/api/v1/sessions/{first.json()['session_id']}")
    other = {"lesson_id": lesson()}
    conflict = world.east.http.post("/api/v1/sessions", json=other, headers=headers)

    problem(conflict, 409, "idempotency-conflict")


def test_a_full_cell_whose_peers_are_full_says_so(world: World) -> None:
    problem(world.east.create(lesson(), wait=False), 503, "no-capacity")


# Calls about a session


def test_calls_about_a_session_reach_its_cell_from_any_cell(world: World) -> None:
    world.west.worker(2)
    made = world.west.create(lesson()).json()
    path = f"/api/v1/sessions/{made['session_id']}"

    shown = world.east.http.get(path)
    assert (shown.status_code, shown.json()["region"]) == (200, WEST)
    assert world.east.http.get(f"{path}/why").json()["chosen"] == made["worker_id"]
    grant = world.east.http.post(f"{path}/token", json={"role": "voice"}).json()
    assert grant["room"] == made["session_id"]
    refused = world.east.http.post(f"{path}/token", json={"role": "king"})
    problem(refused, 422, "invalid-request")
    assert world.east.http.delete(path).status_code == 204
    assert world.west.show(made["session_id"])["status"] == "ended"


def test_a_forwarded_call_is_checked_by_the_sessions_own_cell(world: World) -> None:
    world.west.worker(2)
    made = world.west.create(lesson()).json()
    path = f"{world.east.cell.url}/api/v1/sessions/{made['session_id']}"

    problem(httpx.get(path), 401, "unauthorized")
    wrong = httpx.get(path, headers={"Authorization": "Bearer rk_wrong"})
    problem(wrong, 401, "unauthorized")


def test_a_session_of_nobody_we_know_or_that_came_by_a_hop_is_not_found(world: World) -> None:
    unknown = world.east.http.get("/api/v1/sessions/s-mars-0123456789abcdef")
    problem(unknown, 404, "not-found")
    path = f"/api/v1/sessions/s-{WEST}-0123456789abcdef"
    came_by_a_hop = world.east.http.get(path, headers={"X-Rapido-Hop": "1"})
    problem(came_by_a_hop, 404, "not-found")


# What a peer may say


def test_an_unsigned_or_forged_summary_is_refused(world: World) -> None:
    east, liar = world.east.cell, world.liar
    path = f"/api/v1/cell/peers/{LIAR}"

    unsigned = httpx.put(east.url + path, json=liar.summary())
    problem(unsigned, 403, "forbidden")
    forged = liar.call(east, "PUT", path, liar.summary(), secret="x" * 40)
    problem(forged, 403, "forbidden")
    for_another = liar.tell(east, f"/api/v1/cell/peers/{WEST}", cell=WEST, region=WEST)
    problem(for_another, 403, "forbidden")


def test_a_worker_is_no_peer(world: World) -> None:
    worker = world.east.worker(1)
    path = f"/api/v1/cell/peers/{LIAR}"
    problem(worker.call("PUT", path, world.liar.summary()), 403, "forbidden")
    handed = {"lesson_id": lesson(), "tenant": "demo", "hop": 1}
    problem(worker.call("POST", "/api/v1/cell/sessions", handed), 403, "forbidden")
    problem(worker.call("GET", f"/api/v1/cell/keys/{'0' * 64}", {}), 403, "forbidden")


def test_the_home_cell_tells_a_peer_what_it_knows_of_a_key(world: World) -> None:
    digest = access.digest(world.east.cell.client_key)

    known = world.liar.call(world.east.cell, "GET", f"/api/v1/cell/keys/{digest}", b"")

    assert known.status_code == 200
    assert (known.json()["tenant"], known.json()["role"]) == ("demo", "client")
    unknown = world.liar.call(world.east.cell, "GET", f"/api/v1/cell/keys/{'0' * 64}", b"")
    problem(unknown, 404, "not-found")


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": WEST},
        {"region": WEST},
        {"free_slots": -1},
        {"free_slots": 10**9},
        {"best_score": 7},
        {"since": 5, "sequence": 4},
        {"unheard": 1},
        {"lessons": [{"lesson": "0" * 32, "session_id": f"s-{WEST}-01234567", "born_ms": 1,
                      "over": False}]},
        {"lessons": [{"lesson": "0" * 32, "session_id": f"s-{LIAR}-01234567", "born_ms": 1,
                      "over": False}] * 257},
    ],
)  # fmt: skip
def test_a_summary_that_makes_no_sense_is_refused_with_the_field(
    world: World, changes: dict[str, Any]
) -> None:
    answer = world.liar.tell(world.east.cell, **changes)
    problem(answer, 422, "invalid-request")
    assert answer.json()["errors"]


def test_a_summary_of_long_ago_and_one_that_is_no_json_are_refused(world: World) -> None:
    east = world.east.cell
    old = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    problem(world.liar.tell(east, sent_at=old), 409, "stale-summary")
    path = f"/api/v1/cell/peers/{LIAR}"
    garbage = world.liar.call(east, "PUT", path, b"\xff{")
    problem(garbage, 400, "malformed-body")


def test_a_request_is_taken_over_once_and_never_handed_on(world: World) -> None:
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    east, path = world.east.cell, "/api/v1/cell/sessions"
    body = {"lesson_id": lesson(), "tenant": "demo"}

    once = world.liar.call(east, "POST", path, body | {"hop": 1})
    problem(once, 503, "no-capacity")
    problem(world.liar.call(east, "POST", path, body | {"hop": 2}), 422, "invalid-request")
    problem(world.liar.call(east, "POST", path, body), 422, "invalid-request")


# A peer that is ill


def _someone_elses(handler: BaseHTTPRequestHandler) -> None:
    view = {
        "session_id": f"s-{WEST}-0123456789abcdef",
        "lesson_id": "x",
        "status": "live",
        "region": LIAR,
        "worker_id": "w",
        "livekit": {"url": "ws://x", "region": LIAR, "room": "x", "token": "x"},
        "created_at": datetime.now(UTC).isoformat(),
        "expires_at": datetime.now(UTC).isoformat(),
    }
    send(handler, 201, view)


def _redirects(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(307)
    handler.send_header("Location", f"http://{handler.headers['Host']}/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


ILL: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "garbage": lambda handler: send(handler, 201, b"<html>"),
    "half a session": lambda handler: send(handler, 201, {"session_id": "s-x-01234567"}),
    "somebody else's session": _someone_elses,
    "a list": lambda handler: send(handler, 200, []),
    "a redirect": _redirects,
    "an error": lambda handler: send(handler, 500, {}),
    "no slot after all": lambda handler: send(handler, 503, {}),
    "a deep hole": lambda handler: send(handler, 201, b"[" * 100_000),
}


@pytest.mark.parametrize("illness", ILL)
def test_a_peer_that_lies_about_its_slots_costs_nobody_a_session(
    world: World, illness: str
) -> None:
    world.liar.answer = ILL[illness]
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    assert world.liar.tell(world.east.cell).status_code == 200

    answer = world.east.create(lesson(), rtt_ms=NEAR_LIAR)

    assert (answer.status_code, answer.json()["region"]) == (201, WEST)
    assert world.liar.asked


def test_a_peer_that_never_answers_costs_nobody_a_session_and_is_then_left_alone(
    world: World,
) -> None:
    world.liar.released.clear()
    world.liar.answer = lambda _: bool(world.liar.released.wait()) and None
    world.west.worker(8)
    world.know(world.east, world.west, free=8)

    def create() -> httpx.Response:
        assert world.liar.tell(world.east.cell).status_code == 200
        return world.east.create(lesson(), rtt_ms=NEAR_LIAR)

    answers = [create() for _ in range(5)]
    world.liar.released.set()

    assert {answer.json()["region"] for answer in answers} == {WEST}
    assert 1 <= len(world.liar.asked) <= FAILURES


# Cells that cannot talk


def _split(world: World, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both serve the lesson while they cannot talk; the older session, and the younger."""
    world.east.worker(2)
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    world.know(world.west, world.east, free=2)
    world.cut(True)
    older = world.east.create(name)
    younger = world.west.create(name)
    assert (older.status_code, younger.status_code) == (201, 201)
    assert younger.json()["session_id"].startswith(f"s-{WEST}-")
    world.live(world.east, older.json()["session_id"])
    world.live(world.west, younger.json()["session_id"])
    return older.json(), younger.json()


def test_cells_that_cannot_talk_both_serve_and_the_younger_double_ends_when_nobody_is_in_it(
    world: World,
) -> None:
    name = lesson()
    older, younger = _split(world, name)
    world.west.runs(younger, learners=0)

    world.cut(False)

    world.until(
        lambda: world.west.show(younger["session_id"])["status"] == "ended",
        "the younger session goes on",
    )
    assert older["session_id"] in world.west.show(younger["session_id"])["reason"]
    assert world.east.show(older["session_id"])["status"] == "live"
    world.until(lambda: EAST in world.west.sought(name).owners, "west does not know the owner")
    assert world.west.create(name).json()["session_id"] == older["session_id"]


def test_a_double_with_a_learner_in_it_finishes_and_is_counted(world: World) -> None:
    older, younger = _split(world, lesson())
    world.west.runs(younger, learners=1)

    world.cut(False)

    log = world.west.cell.directory / "logs" / "functions.log"
    world.until(lambda: '"DoublesKept":[1.0]' in log.read_text(), "the double was not counted")
    assert world.east.show(older["session_id"])["status"] == "live"
    assert world.west.show(younger["session_id"])["status"] == "live"


def test_a_call_about_a_session_of_a_cell_that_is_cut_off_says_so(world: World) -> None:
    world.cut(True)
    answer = world.east.http.get(f"/api/v1/sessions/s-{WEST}-0123456789abcdef")
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]


def test_a_cell_whose_store_is_gone_hands_its_requests_over(world: World) -> None:
    world.west.worker(2)
    world.know(world.east, world.west, free=2)
    world.east.cell.kill("valkey")

    answer = world.east.create(lesson())

    assert (answer.status_code, answer.json()["region"]) == (201, WEST)
