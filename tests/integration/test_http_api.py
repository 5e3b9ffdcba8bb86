"""The control API on a whole local cell, with workers that speak the protocol only."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import httpx
import jwt
import psycopg
import pytest
import valkey

from control.adapters.store import ValkeyStore
from control.domain.session import new_session_id
from control.services.ports import Placing
from ops.cell.aws import aws_environment
from ops.cell.cell import Cell
from tests.integration.saga_worker import SagaWorker


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    name = "api" + secrets.token_hex(2)
    with Cell(name=name, workers=0, state_dir=tmp_path_factory.mktemp("cell")) as running:
        yield running


class Client:
    """Calls with a key, or without."""

    def __init__(self, cell: Cell, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=cell.url, headers=headers, timeout=10)

    def create(self, lesson: str | None = None, **more: Any) -> httpx.Response:
        body = {"lesson_id": lesson or secrets.token_hex(6)} | more
        return self.http.post("/api/v1/sessions", json=body)

    def show(self, session_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/api/v1/sessions/{session_id}").json())

    def until(self, session_id: str, status: str) -> dict[str, Any]:
        """Asks until it stands there."""
        deadline = time.monotonic() + 40
        while (seen := self.show(session_id))["status"] != status:
            assert time.monotonic() < deadline, seen
            assert seen["status"] not in ("ended", "failed"), seen
            time.sleep(0.05)
        return seen


@pytest.fixture
def client(cell: Cell) -> Client:
    return Client(cell, cell.client_key)


Make = Callable[..., SagaWorker]


@pytest.fixture
def make(cell: Cell) -> Iterator[Make]:
    """Workers that leave with the test; sessions end with them."""
    entered: list[SagaWorker] = []

    def start(behaviour: Any = "plays", slots: int = 2) -> SagaWorker:
        worker = SagaWorker(cell.url, cell.new_identity(), behaviour, slots)
        entered.append(worker.__enter__())
        return worker

    yield start
    store = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
    for session_id in store.zrange(f"{{{cell.name}}}:exp", 0, -1):
        Client(cell, cell.operator_key).http.delete(f"/api/v1/sessions/{session_id}")
    for worker in entered:
        worker.__exit__()


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = dict(answer.json())
    assert body["type"] == f"urn:rapido:problem:{slug}"
    assert body["detail"]
    return body


# One session


def test_a_lesson_becomes_live_and_ends_without_a_trace(
    cell: Cell, client: Client, make: Make
) -> None:
    worker = make()

    answer = client.create(user_location={"latitude": 40.7, "longitude": -74.0})

    assert answer.status_code == 201
    made = answer.json()
    assert made["livekit"]["token"]
    client.until(made["session_id"], "live")
    assert worker.started[0]["room"]["room"] == made["session_id"]
    client.http.delete(f"/api/v1/sessions/{made['session_id']}")
    assert client.show(made["session_id"])["status"] == "ended"
    assert _used(cell) == {}


def test_a_worker_is_given_a_warm_room_and_the_next_lesson_gets_it(
    cell: Cell, client: Client, make: Make
) -> None:
    worker = make()
    given = worker.beat().json()["warm"]
    claims = jwt.decode(given[0]["token"], cell.livekit_secret, algorithms=["HS256"])

    warm = [{"session_id": given[0]["room"], "ready": True}]
    again = worker.beat(warm=warm).json()["warm"]
    made = client.create().json()
    after = worker.beat(warm=warm).json()["warm"]

    assert claims["video"]["room"] == given[0]["room"]
    assert [one["room"] for one in again] == [given[0]["room"]]
    assert made["session_id"] == made["livekit"]["room"] == given[0]["room"]
    client.until(made["session_id"], "live")
    assert worker.started[0]["room"]["room"] == given[0]["room"]
    assert [one["room"] for one in after] != [given[0]["room"]]


def test_a_full_or_draining_worker_keeps_no_warm_room(make: Make) -> None:
    worker = make(slots=1)

    assert worker.beat(slots=0).json()["warm"] == []
    assert worker.beat(state="draining").json()["warm"] == []


def test_the_learners_token_opens_one_room_and_does_not_speak(
    cell: Cell, client: Client, make: Make
) -> None:
    make()

    made = client.create(learner={"identity": "anna", "name": "Anna"}).json()

    claims = jwt.decode(made["livekit"]["token"], cell.livekit_secret, algorithms=["HS256"])
    assert (claims["sub"], claims["name"]) == ("anna", "Anna")
    assert claims["video"]["room"] == made["session_id"]
    assert claims["video"]["canUpdateOwnMetadata"] is False
    assert "attributes" not in claims


def test_a_voice_token_is_signed_to_speak(cell: Cell, client: Client, make: Make) -> None:
    make()
    made = client.create().json()

    grant = client.http.post(
        f"/api/v1/sessions/{made['session_id']}/token", json={"role": "voice"}
    ).json()

    claims = jwt.decode(grant["token"], cell.livekit_secret, algorithms=["HS256"])
    assert claims["attributes"] == {"rapido.voice": "true"}


def test_the_same_lesson_again_is_the_same_session(client: Client, make: Make) -> None:
    make()

    first, again = client.create("maths"), client.create("maths")

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["session_id"] == again.json()["session_id"]


def test_an_idempotency_key_for_another_body_is_a_conflict(client: Client, make: Make) -> None:
    make()
    headers = {"Idempotency-Key": secrets.token_hex(4)}
    body = {"lesson_id": secrets.token_hex(4)}
    first = client.http.post("/api/v1/sessions", json=body, headers=headers)
    same = client.http.post("/api/v1/sessions", json=body, headers=headers)

    other = client.http.post("/api/v1/sessions", json={"lesson_id": "else"}, headers=headers)

    assert first.json()["session_id"] == same.json()["session_id"]
    problem(other, 409, "idempotency-conflict")


def test_why_tells_enough_to_replay_the_choice(client: Client, make: Make) -> None:
    make()
    worker = make(slots=8)
    made = client.create().json()

    why = client.http.get(f"/api/v1/sessions/{made['session_id']}/why").json()

    assert why["chosen"] == made["worker_id"] == worker.name
    weights = why["weights"]
    for one in why["candidates"]:
        score = sum(weights[term] * value for term, value in one["terms"].items())
        assert score == pytest.approx(one["score"])


def test_a_worker_holds_the_avatars_that_it_says_are_ready(client: Client, make: Make) -> None:
    other, holder = make(slots=9), make(slots=8)
    avatars = ["demo", "fox"]
    other.beat(avatars=avatars, ready=["fox"])
    holder.beat(avatars=avatars, ready=["demo"])

    made = client.create().json()

    why = client.http.get(f"/api/v1/sessions/{made['session_id']}/why").json()
    holds = {one["worker_id"]: one["holds_avatar"] for one in why["candidates"]}
    assert holds == {other.name: False, holder.name: True}
    assert made["worker_id"] == holder.name


def test_a_caller_with_its_own_room_gets_no_token(client: Client, make: Make) -> None:
    worker = make()
    room = {"url": "wss://mine.example", "token": "x" * 40, "agent_identity": "agent"}

    made = client.create(room=room).json()

    assert made["livekit"]["token"] is None
    client.until(made["session_id"], "live")
    assert worker.started[0]["agent_identity"] == "agent"
    assert worker.started[0]["room"]["token"] == "x" * 40


# Setup fails, and what then


def test_a_refusing_worker_is_left_out_and_another_plays(client: Client, make: Make) -> None:
    make("refuses", slots=30)
    good = make("plays", slots=2)

    made = client.create().json()

    seen = client.until(made["session_id"], "live")
    assert seen["worker_id"] == good.name
    why = client.http.get(f"/api/v1/sessions/{made['session_id']}/why").json()
    assert why["excluded"] == [made["worker_id"]]


def test_a_stream_that_fails_is_placed_again(client: Client, make: Make) -> None:
    make("fails", slots=30)
    good = make("plays", slots=2)

    made = client.create().json()

    assert client.until(made["session_id"], "live")["worker_id"] == good.name


def test_a_worker_that_shows_nothing_in_ten_seconds_is_replaced(client: Client, make: Make) -> None:
    silent = make("silent", slots=30)
    good = make("plays", slots=2)

    made = client.create().json()

    assert client.until(made["session_id"], "live")["worker_id"] == good.name
    late = silent.say("first_frame", silent.started[0])
    problem(late, 409, "stale-generation")


def test_when_no_worker_can_the_session_fails_and_says_why(
    cell: Cell, client: Client, make: Make
) -> None:
    make("refuses")

    made = client.create().json()

    deadline = time.monotonic() + 20
    while (seen := client.show(made["session_id"]))["status"] == "starting":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (seen["status"], seen["reason"]) == (
        "failed",
        "No other worker has a free slot for the avatar.",
    )
    assert _used(cell) == {}


def _lease_without_execution(cell: Cell, lesson: str) -> str:
    """What a function leaves that died between lease and StartExecution."""
    store = ValkeyStore(cell.store_url, cell.name, cell.region)
    session_id = new_session_id(cell.name)
    placing = Placing(
        session_id=session_id,
        tenant=_tenant(cell),
        lesson_id=lesson,
        avatar="demo",
        distance=1.0,
        idempotency_key=None,
        fingerprint="f",
        livekit_url=cell.livekit_url,
        livekit_region=cell.region,
        learner_identity="learner",
        learner_name=None,
        own_room_token=None,
        agent_identity=None,
        correlation_id=None,
        execution=session_id,
    )
    assert store.place(placing).outcome == "placed"
    return session_id


def test_a_session_nobody_drives_is_started_by_the_next_request(
    cell: Cell, client: Client, make: Make
) -> None:
    make()
    session_id = _lease_without_execution(cell, "undriven")

    answer = client.create("undriven")

    assert (answer.status_code, answer.json()["session_id"]) == (200, session_id)
    client.until(session_id, "live")


def test_a_session_nobody_drives_is_started_by_the_tick(
    cell: Cell, client: Client, make: Make
) -> None:
    make()
    session_id = _lease_without_execution(cell, "undriven by requests")
    store = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
    store.zadd(f"{{{cell.name}}}:starting", {session_id: 1})

    done = httpx.post(
        f"{cell.aws_url}/2015-03-31/functions/TickFunction/invocations", content=b"{}", timeout=30
    ).json()

    assert done["driven"] == 1
    client.until(session_id, "live")


def test_a_lease_that_ran_out_before_its_setup_began_is_taken_anew(
    cell: Cell, client: Client, make: Make
) -> None:
    make()
    make()
    session_id = _lease_without_execution(cell, "too late")
    store = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
    store.zadd(f"{{{cell.name}}}:exp", {session_id: 1})

    client.create("too late")

    client.until(session_id, "live")
    assert sum(map(int, _used(cell).values())) == 1


# The queue


def test_who_waits_gets_a_ticket_and_then_the_slot(cell: Cell, client: Client, make: Make) -> None:
    make(slots=1)
    first = client.create("first").json()["session_id"]
    client.until(first, "live")

    answer = client.create("second")
    ticket = answer.json()
    client.http.delete(f"/api/v1/sessions/{first}")

    assert (answer.status_code, ticket["position"]) == (202, 1)
    client.until(ticket["ticket"], "live")
    left = client.http.get(ticket["status_url"])
    assert left.status_code == 303
    assert left.headers["location"] == f"/api/v1/sessions/{ticket['ticket']}"


def test_a_slot_that_its_worker_has_not_freed_yet_costs_who_waits_nothing(
    cell: Cell, client: Client, make: Make
) -> None:
    worker = make(slots=1)
    first = client.create("first").json()["session_id"]
    client.until(first, "live")
    ticket = client.create("second").json()["ticket"]
    worker.deaf = True

    client.http.delete(f"/api/v1/sessions/{first}")
    assert worker.asked_in_vain.wait(10)
    client.until(ticket, "queued")
    worker.stopped.append(first)
    worker.beat()

    client.until(ticket, "live")
    assert worker.refused == ["no-slot"]


def test_a_ticket_tells_its_place_and_can_be_given_back(
    cell: Cell, client: Client, make: Make
) -> None:
    make(slots=1)
    client.until(client.create("holds").json()["session_id"], "live")
    tickets = [client.create(f"waits {n}").json() for n in range(2)]

    asked = client.http.get(tickets[1]["status_url"]).json()
    again = client.create("waits 1")
    gone = [client.http.delete(tickets[0]["status_url"]).status_code for _ in range(2)]
    moved = client.http.get(tickets[1]["status_url"]).json()

    assert (asked["position"], asked["ticket"]) == (2, tickets[1]["ticket"])
    assert (again.status_code, again.json()["ticket"]) == (202, tickets[1]["ticket"])
    assert gone == [204, 204]
    assert moved["position"] == 1
    client.http.delete(tickets[1]["status_url"])


def test_a_class_takes_its_held_slot_while_others_wait_and_operators_see_both(
    cell: Cell, client: Client, make: Make
) -> None:
    worker = make(slots=2)
    store = ValkeyStore(cell.store_url, cell.name, "us-east-1")
    store.hold(_tenant(cell), "9a", 1, time.time() + 600)
    store.order({worker.name: -0.5})
    operator = Client(cell, cell.operator_key)
    (view,) = [
        one
        for one in operator.http.get("/api/v1/workers").json()["workers"]
        if one["worker_id"] == worker.name
    ]

    walk_ins = [client.create() for _ in range(2)]
    pupil = client.create(class_id="9a")

    assert (view["used"], view["held"], view["order"]) == (1, 1, -0.5)
    assert operator.http.get("/api/v1/fleet").json()["held"] == 0
    assert [one.status_code for one in (*walk_ins, pupil)] == [201, 202, 201]
    made = client.until(pupil.json()["session_id"], "live")
    assert (made["class_id"], made["worker_id"]) == ("9a", worker.name)
    why = client.http.get(f"/api/v1/sessions/{made['session_id']}/why").json()
    assert (why["held"], why["candidates"][0]["order"]) == (True, -0.5)
    client.http.delete(walk_ins[1].json()["status_url"])


def test_a_class_without_a_name(client: Client) -> None:
    problem_ = problem(client.create(class_id=""), 422, "invalid-request")
    assert problem_["errors"][0]["field"] == "class_id"


def test_a_forged_or_foreign_ticket(cell: Cell, client: Client, make: Make) -> None:
    make(slots=1)
    client.until(client.create("holds it").json()["session_id"], "live")
    ticket = client.create("mine").json()["ticket"]
    stranger = Client(cell, _key_of(cell, "stranger", "null"))

    problem(client.http.get(f"/api/v1/queue/{new_session_id(cell.name)}"), 404, "not-found")
    problem(stranger.http.get(f"/api/v1/queue/{ticket}"), 404, "not-found")
    problem(stranger.http.delete(f"/api/v1/queue/{ticket}"), 404, "not-found")
    client.http.delete(f"/api/v1/queue/{ticket}")


def test_a_tenants_quota_and_rate_are_kept(cell: Cell, client: Client, make: Make) -> None:
    make(slots=3)
    with psycopg.connect(cell.database_url, autocommit=True) as database:
        database.execute(
            "insert into tenants (tenant, most_sessions, requests_per_s) values ('small', 1, 3)"
        )
    small = Client(cell, _key_of(cell, "small", "null"))

    first, second = small.create("one"), small.create("two")
    answers = (small.http.get("/api/v1/sessions") for _ in range(200))
    refused = next(one for one in answers if one.status_code == 429)

    assert first.status_code == 201
    problem(second, 429, "quota")
    problem(refused, 429, "too-many-requests")
    assert refused.headers["retry-after"] == "1"


def test_an_execution_started_by_hand_places_for_the_console(
    cell: Cell, client: Client, make: Make
) -> None:
    worker = make()
    states = _states(cell)
    machines = states.list_state_machines()["stateMachines"]
    setup = next(one for one in machines if "session-setup" in one["name"])
    given = {"lesson_id": "by-hand", "user_location": {"latitude": 52.5, "longitude": 13.4}}

    run = states.start_execution(
        stateMachineArn=setup["stateMachineArn"],
        name=f"console-{secrets.token_hex(4)}",
        input=json.dumps(given),
    )

    deadline = time.monotonic() + 20
    while (
        status := states.describe_execution(executionArn=run["executionArn"])["status"]
    ) == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status == "SUCCEEDED"
    session_id = worker.started[-1]["session_id"]
    operator = Client(cell, cell.operator_key)
    assert operator.show(session_id)["status"] == "live"
    assert client.http.get(f"/api/v1/sessions/{session_id}").status_code == 404


def test_every_session_reaches_the_records(cell: Cell, client: Client, make: Make) -> None:
    make()
    made = client.create().json()
    client.until(made["session_id"], "live")

    deadline = time.monotonic() + 20
    with psycopg.connect(cell.database_url, autocommit=True) as database:
        query = "select status from sessions where session_id = %s"
        while (row := database.execute(query, (made["session_id"],)).fetchone()) != ("live",):
            assert time.monotonic() < deadline, row
            time.sleep(0.1)


# Bad input


def test_a_malformed_body(client: Client) -> None:
    answer = client.http.post(
        "/api/v1/sessions", content=b"{lesson", headers={"Content-Type": "application/json"}
    )
    problem(answer, 400, "malformed-body")


def test_an_unknown_field(client: Client) -> None:
    body = problem(client.create(lessonid="x"), 422, "invalid-request")
    assert body["errors"][0]["field"] == "lessonid"
    assert "lesson_id" in body["errors"][0]["remedy"]


def test_a_latitude_of_91(client: Client) -> None:
    answer = client.create(user_location={"latitude": 91, "longitude": 0})
    body = problem(answer, 422, "invalid-request")
    assert body["errors"][0]["field"] == "user_location.latitude"


def test_a_lesson_id_of_10_kb(client: Client) -> None:
    body = problem(client.create("x" * 10_000), 422, "invalid-request")
    assert body["errors"][0]["field"] == "lesson_id"
    assert "200" in body["errors"][0]["remedy"]


def test_a_foreign_tenants_session_does_not_exist_here(
    cell: Cell, client: Client, make: Make
) -> None:
    make()
    made = client.create().json()
    stranger = Client(cell, _key_of(cell, "college"))
    path = f"/api/v1/sessions/{made['session_id']}"

    problem(stranger.http.get(path), 404, "not-found")
    problem(stranger.http.delete(path), 404, "not-found")
    problem(stranger.http.get(path + "/why"), 404, "not-found")
    problem(stranger.http.post(path + "/token", json={"role": "voice"}), 404, "not-found")
    assert stranger.http.get("/api/v1/sessions").json()["sessions"] == []
    assert client.show(made["session_id"])["status"] in ("starting", "live")


@pytest.mark.parametrize("key", [None, "rk_wrong", "nonsense", "rk_" + "x" * 300])
def test_a_missing_or_wrong_key(cell: Cell, key: str | None) -> None:
    problem(Client(cell, key).create(), 401, "unauthorized")


def test_an_expired_key(cell: Cell) -> None:
    key = _key_of(cell, "school", "now() - interval '1 hour'")
    problem(Client(cell, key).create(), 401, "unauthorized")


def test_a_client_may_not_do_an_operators_work(client: Client) -> None:
    problem(client.http.get("/api/v1/fleet"), 403, "forbidden")


def test_an_avatar_that_does_not_exist(cell: Cell, client: Client, make: Make) -> None:
    make()
    body = problem(client.create(avatar="nobody"), 422, "invalid-request")
    assert body["errors"][0]["field"] == "avatar"
    assert _used(cell) == {}


def test_no_free_slot(client: Client) -> None:
    answer = client.create(wait=False)
    problem(answer, 503, "no-capacity")
    assert int(answer.headers["Retry-After"]) > 0


def test_an_unsigned_heartbeat(cell: Cell, make: Make) -> None:
    worker = make()
    answer = httpx.post(
        f"{cell.url}/api/v1/workers/{worker.name}/heartbeat", json=worker.heartbeat()
    )
    problem(answer, 403, "forbidden")


def test_a_heartbeat_for_another_worker(make: Make) -> None:
    one, other = make(), make()
    path = f"/api/v1/workers/{other.name}/heartbeat"
    problem(one.call("POST", path, other.heartbeat()), 403, "forbidden")


@pytest.mark.parametrize(("cores", "rooms"), [(1, 4), (8, 32), (48, 64)])
def test_a_worker_gets_rooms_of_its_own_to_measure_in(make: Make, cores: int, rooms: int) -> None:
    worker = make()

    probe = worker.register(cores)["probe"]

    claims = [jwt.decode(one["token"], options={"verify_signature": False}) for one in probe]
    assert len({one["room"] for one in probe}) == rooms
    assert [one["video"]["room"] for one in claims] == [one["room"] for one in probe]
    assert all(worker.name in one["room"] for one in probe)


def test_a_heartbeat_from_an_older_instance(make: Make) -> None:
    worker = make()
    old = worker.registration
    worker.register()
    problem(worker.beat(registration=old), 409, "stale-registration")


def test_a_heartbeat_of_a_worker_the_store_has_lost(cell: Cell, make: Make) -> None:
    worker = make()
    store = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
    store.hdel(f"{{{cell.name}}}:w", worker.name)

    problem(worker.beat(), 409, "forgotten-registration")
    worker.register()
    assert worker.beat().status_code == 200


@pytest.mark.parametrize("slots", [-1, 1_000_000_000, "many"])
def test_slots_that_cannot_be(make: Make, slots: Any) -> None:
    body = problem(make().beat(slots=slots), 422, "invalid-request")
    assert body["errors"][0]["field"] == "slots"


def test_a_worker_that_announces_no_slots_gets_no_session(client: Client, make: Make) -> None:
    worker = make()
    assert worker.beat(slots=0).status_code == 200
    problem(client.create(wait=False), 503, "no-capacity")


def test_a_worker_cannot_change_its_region_while_it_lives(make: Make) -> None:
    body = problem(make().beat(region="eu-west-1"), 422, "invalid-request")
    assert body["errors"][0]["field"] == "region"


def test_a_webhook_with_a_wrong_signature(cell: Cell) -> None:
    body = b'{"event":"room_finished","room":{"name":"x"}}'
    for secret, signed in ((cell.livekit_secret, b"other"), ("wrong" * 8, body)):
        digest = base64.b64encode(hashlib.sha256(signed).digest()).decode()
        claims = {"iss": cell.livekit_key, "sha256": digest, "exp": int(time.time()) + 60}
        token = jwt.encode(claims, secret, algorithm="HS256")
        answer = httpx.post(
            f"{cell.url}/api/v1/webhooks/livekit",
            content=body,
            headers={"Authorization": token, "Content-Type": "application/webhook+json"},
        )
        problem(answer, 401, "unauthorized")


def test_a_webhook_of_a_closed_room_ends_its_session(
    cell: Cell, client: Client, make: Make
) -> None:
    make()
    made = client.create().json()
    client.until(made["session_id"], "live")
    event = {"event": "room_finished", "room": {"name": made["session_id"]}}
    body = json.dumps(event).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    claims = {"iss": cell.livekit_key, "sha256": digest, "exp": int(time.time()) + 60}
    token = jwt.encode(claims, cell.livekit_secret, algorithm="HS256")

    answer = httpx.post(
        f"{cell.url}/api/v1/webhooks/livekit",
        content=body,
        headers={"Authorization": token, "Content-Type": "application/webhook+json"},
    )

    assert answer.status_code == 200
    assert client.show(made["session_id"])["status"] == "ended"


def test_a_second_delete(client: Client, make: Make) -> None:
    make()
    made = client.create().json()
    path = f"/api/v1/sessions/{made['session_id']}"

    answers = [client.http.delete(path).status_code for _ in range(3)]

    assert answers == [204, 204, 204]


def test_a_strange_query_parameter(client: Client) -> None:
    answer = client.http.get("/api/v1/sessions", params={"state": "live"})
    body = problem(answer, 422, "invalid-request")
    assert body["errors"][0]["field"] == "state"


def test_nothing_but_health_and_openapi_answers_without_credentials(cell: Cell) -> None:
    described = httpx.get(f"{cell.url}/openapi.json").json()
    open_paths = set()
    for path, methods in described["paths"].items():
        for method in methods:
            url = cell.url + path.replace("{session_id}", "s-x-12345678").replace(
                "{worker_id}", "w"
            )
            answer = httpx.request(method.upper(), url, json={} if method == "post" else None)
            if answer.status_code < 400:
                open_paths.add(path)
            else:
                assert answer.status_code in (401, 403), (path, answer.text)
    assert open_paths == {"/health", "/health/ready", "/openapi.json"}


def _used(cell: Cell) -> dict[str, str]:
    store = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
    return dict(store.hgetall(f"{{{cell.name}}}:used"))


def _tenant(cell: Cell) -> str:
    with psycopg.connect(cell.database_url) as database:
        digest = hashlib.sha256(cell.client_key.encode()).hexdigest()
        query = "select tenant from api_keys where digest = %s"
        row = database.execute(query, (digest,)).fetchone()
    assert row is not None
    return str(row[0])


def _key_of(cell: Cell, tenant: str, expires: str = "null") -> str:
    key = "rk_" + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    with psycopg.connect(cell.database_url) as database:
        database.execute(
            "insert into api_keys (digest, tenant, role, expires_at) "
            f"values (%s, %s, 'client', {expires})",
            (digest, tenant),
        )
    return key


def _states(cell: Cell) -> Any:
    environment = aws_environment(cell.aws_url, "us-east-1")
    make: Any = boto3.client
    return make(
        "stepfunctions",
        endpoint_url=cell.aws_url,
        region_name="us-east-1",
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
