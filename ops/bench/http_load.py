"""Clients over HTTP: at a steady rate, and all at once for the last slots."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops.bench.crowd import Crowd
from ops.bench.http_cell import HttpCell
from ops.bench.stage import BenchError, Stage

THREADS = 4
"""Clients in each process of the crowd."""
_GATHERING_S = 0.5
_TURNED_AWAY = 3
_LOOK_EVERY_S = 0.1
_AN_HOUR_MS = 3_600_000


class _Client:
    """One kept connection."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._connection.close()

    def health(self) -> None:
        self._connection.request("GET", "/health")
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise BenchError(f"GET /health answered {answer.status}")

    def create(self, lesson: str) -> str | None:
        """The worker that was placed on; None where no slot is free."""
        body = json.dumps({"lesson_id": lesson, "wait": False})
        self._connection.request("POST", "/api/v1/sessions", body, self._headers)
        answer = self._connection.getresponse()
        said: dict[str, Any] = json.loads(answer.read())
        if answer.status == 201:
            return str(said["worker_id"])
        if answer.status == 503 and said["type"].endswith(":no-capacity"):
            return None
        raise BenchError(f"POST sessions answered {answer.status}: {said}")


def p99_ms(crowd: Crowd, cell: HttpCell, what: str, per_s: float, seconds: float) -> float:
    """99th percentile from the moment each request was due, whether or not a client was free.

    ``what`` is ``post`` or ``health``.
    """
    start = time.monotonic() + _GATHERING_S
    share = (per_s / crowd.size, int(per_s * seconds / crowd.size))
    found = crowd.together(_at_rate, cell.port, cell.key, what, *share, start)
    return float(np.percentile(np.concatenate(found), 99)) * 1000


def _at_rate(
    port: int, key: str, what: str, per_s: float, count: int, start: float, number: int
) -> list[float]:
    start += number / per_s / 64  # not every process in the same instant
    due = iter(range(count))
    taking = threading.Lock()

    def run(_: int) -> list[float]:
        took: list[float] = []
        with closing(_Client(port, key)) as client:
            client.health()  # connected before the first is due
            while True:
                with taking:
                    turn = next(due, None)
                if turn is None:
                    return took
                at = start + turn / per_s
                time.sleep(max(0.0, at - time.monotonic()))
                if what == "health":
                    client.health()
                elif client.create(f"rate-{number}-{turn}") is None:
                    raise BenchError("no slot was free at the steady rate")
                took.append(time.monotonic() - at)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(itertools.chain.from_iterable(threads.map(run, range(THREADS))))


@dataclass(frozen=True)
class Sale:
    """``sold``: sessions that were answered 201; the rest in slots."""

    sold: int
    oversold: int
    unsold: int


def sale(crowd: Crowd, cell: HttpCell, workers: int, slots: int) -> Sale:
    """Every client asks for one lesson after another until it was turned away three times.

    Oversold is the most that any look at the leases, or the answers, showed above the slots.
    """
    jobs = [crowd.pool.submit(_buy, cell.port, cell.key, number) for number in range(crowd.size)]
    most_over = 0
    while not all(job.done() for job in jobs):
        most_over = max(most_over, _over(_held(cell.stage), slots))
        time.sleep(_LOOK_EVERY_S)
    answered: Counter[str] = sum((job.result() for job in jobs), Counter())
    held = _held(cell.stage)
    over = max(most_over, _over(held, slots), _over(answered, slots))
    return Sale(answered.total(), over, max(0, workers * slots - held.total()))


def _held(stage: Stage) -> Counter[str]:
    """Leases by worker. None of them runs out while the sale goes on."""
    leased: Any = stage.raw.zrange(stage.key("exp"), 0, -1)
    if leased:
        until_ms = time.time() * 1000 + _AN_HOUR_MS
        stage.raw.zadd(stage.key("exp"), dict.fromkeys(leased, until_ms), xx=True)
    return stage.held()


def _over(by_worker: Counter[str], slots: int) -> int:
    return sum(max(0, count - slots) for count in by_worker.values())


def _buy(port: int, key: str, number: int) -> Counter[str]:
    def buy(thread: int) -> Counter[str]:
        with closing(_Client(port, key)) as client:
            return Counter(_bought(client, f"sale-{number}-{thread}"))

    with ThreadPoolExecutor(THREADS) as threads:
        return sum(threads.map(buy, range(THREADS)), Counter())


def _bought(client: _Client, lesson: str) -> Iterator[str]:
    turned_away = 0
    for turn in itertools.count():
        worker = client.create(f"{lesson}-{turn}")
        if worker is not None:
            yield worker
            continue
        turned_away += 1
        if turned_away == _TURNED_AWAY:
            return
