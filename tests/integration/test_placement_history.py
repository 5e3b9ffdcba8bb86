"""32 clients at once over real HTTP: what they were told is checked as one history."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from ops.cell.cell import Cell
from tests.integration.saga_worker import SagaWorker

pytestmark = pytest.mark.alone

CLIENTS, LESSONS_EACH = 32, 2
WORKERS, SLOTS = 5, 4


@dataclass(frozen=True)
class Held:
    """A lease that was certainly held from the answer that told it to the call that ended it."""

    worker_id: str
    since_s: float
    until_s: float


def most_at_once(history: list[Held]) -> Counter[str]:
    """The most leases each worker certainly held at one instant."""
    events = [(one.since_s, 1, one.worker_id) for one in history]
    events += [(one.until_s, -1, one.worker_id) for one in history]
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for _, change, worker_id in sorted(events):
        now[worker_id] += change
        most[worker_id] = max(most[worker_id], now[worker_id])
    return most


def still_there(http: httpx.Client, told: list[tuple[str, str, float]]) -> list[Held]:
    """The leases that are where they were told to be. One whose worker had not yet been told of
    another's end was refused there, and is another worker's since."""
    found = []
    for session_id, worker_id, since_s in told:
        asked_s = time.monotonic()
        seen = http.get(f"/api/v1/sessions/{session_id}").json()
        # one that was refused there and found no other place keeps the name, and has no lease
        if seen["worker_id"] == worker_id and seen["status"] in ("starting", "live"):
            found.append(Held(worker_id, since_s, asked_s))
    return found


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    name = "hist" + secrets.token_hex(2)
    with Cell(name=name, workers=0, state_dir=tmp_path_factory.mktemp("cell")) as running:
        yield running


@pytest.fixture
def workers(cell: Cell) -> Iterator[list[SagaWorker]]:
    """They beat as real ones do until the test is over."""
    entered = [SagaWorker(cell.url, cell.new_identity(), "plays", SLOTS) for _ in range(WORKERS)]
    over = threading.Event()
    for worker in entered:
        worker.__enter__()

    def beat() -> None:
        while not over.wait(3.0):
            for worker in entered:
                worker.beat()

    beating = threading.Thread(target=beat)
    beating.start()
    yield entered
    over.set()
    beating.join()
    for worker in entered:
        worker.__exit__()


def test_no_worker_ever_holds_more_than_its_slots_and_all_can_be_sold(
    cell: Cell, workers: list[SagaWorker]
) -> None:
    headers = {"Authorization": f"Bearer {cell.client_key}"}
    history: list[Held] = []

    def client(number: int) -> list[tuple[str, str, float]]:
        """Starts lessons and ends all but the last; what it holds at the end."""
        held = []
        with httpx.Client(base_url=cell.url, headers=headers, timeout=30) as http:
            for lesson in range(LESSONS_EACH):
                body = {"lesson_id": f"lesson {number} {lesson}", "wait": False}
                answer = http.post("/api/v1/sessions", json=body)
                assert answer.status_code in (201, 503), answer.text
                if answer.status_code == 503:
                    continue
                made = answer.json()
                held.append((made["session_id"], made["worker_id"], time.monotonic()))
                if lesson < LESSONS_EACH - 1:
                    history.extend(still_there(http, held))
                    http.delete(f"/api/v1/sessions/{held.pop()[0]}")
        return held

    with ThreadPoolExecutor(CLIENTS) as pool:
        kept = [one for held in pool.map(client, range(CLIENTS)) for one in held]
        with httpx.Client(base_url=cell.url, headers=headers, timeout=30) as http:
            for number in range(WORKERS * SLOTS + 1):
                body = {"lesson_id": f"fill {number}", "wait": False}
                answer = http.post("/api/v1/sessions", json=body)
                if answer.status_code == 503:
                    break
                made = answer.json()
                kept.append((made["session_id"], made["worker_id"], time.monotonic()))
            history += still_there(http, kept)
            now_on = [http.get(f"/api/v1/sessions/{kept_id}").json() for kept_id, _, _ in kept]

    names = {worker.name for worker in workers}
    assert most_at_once(history).keys() <= names
    assert max(most_at_once(history).values()) <= SLOTS
    assert len(kept) == WORKERS * SLOTS
    assert Counter(one["worker_id"] for one in now_on) == dict.fromkeys(names, SLOTS)
