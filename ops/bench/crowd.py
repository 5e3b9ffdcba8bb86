"""Clients in processes of their own, so that they share no interpreter with each other."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from control.domain.geography import Point
from ops.bench.published import Published
from ops.bench.stage import Noop, Stage, placing, plain_client

_GATHERING_S = 0.3
LEARNER = Point(40.7, -74.0)


class Late(RuntimeError):
    """A client missed half of its time: the machine is too busy for the figure to mean anything."""


@dataclass(frozen=True)
class Crowd:
    """``size`` client processes that start together."""

    size: int
    pool: ProcessPoolExecutor

    def rate(self, work: Callable[..., Iterator[None]], seconds: float, *given: Any) -> float:
        """Steps a second of all clients together, each working for ``seconds``.

        ``work(*given, number)`` yields once a step; raises what it raises, and Late.
        """
        start = time.monotonic() + _GATHERING_S
        jobs = [
            self.pool.submit(_steps, work, (*given, number), start, start + seconds)
            for number in range(self.size)
        ]
        return sum(job.result() for job in jobs)

    def together(self, work: Callable[..., Any], *given: Any) -> list[Any]:
        """``work(*given, number)`` of every client, at once."""
        jobs = [self.pool.submit(work, *given, number) for number in range(self.size)]
        return [job.result() for job in jobs]


@contextmanager
def crowd(size: int) -> Iterator[Crowd]:
    """Processes that are forked from one that holds nothing but this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ops.bench.crowd"])
    with ProcessPoolExecutor(size, mp_context=context) as pool:
        gathered = Crowd(size, pool)
        # All processes are there before the first start.
        gathered.together(_wait, 0.2)
        yield gathered


def _wait(seconds: float, number: int) -> int:
    time.sleep(seconds)
    return number


def _steps(work: Callable[..., Iterator[None]], given: Any, start: float, end: float) -> float:
    steps = work(*given)
    next(steps)  # connects, loads its script
    wait_s = start - time.monotonic()
    if -wait_s > (end - start) / 2:
        raise Late(
            f"a client was ready {-wait_s:.1f} s after the start; run it on a quieter machine"
        )
    time.sleep(max(0.0, wait_s))
    began = time.monotonic()
    done = 0
    while time.monotonic() < end:
        next(steps)
        done += 1
    return done / (time.monotonic() - began)


def noop_pairs(url: str, number: int) -> Iterator[None]:
    """Two scripts that do nothing."""
    del number
    noop = Noop(url)
    while True:
        noop()
        noop()
        yield


def our_pairs(url: str, cell: str, number: int) -> Iterator[None]:
    """Place and finish."""
    stage = Stage(url, cell)
    while True:
        ask = placing(cell, f"lesson-{number}")
        stage.place(ask)
        stage.finish(ask.session_id)
        yield


def published_pairs(url: str, name: str, number: int) -> Iterator[None]:
    """The published algorithm's place and finish."""
    published = Published(plain_client(url), name)
    published.finish("nobody")
    yield
    while True:
        session_id = f"p-{number}-{time.monotonic_ns()}"
        published.place(session_id, LEARNER)
        published.finish(session_id)
        yield


def published_sales(url: str, name: str, clients: int, each: int, number: int) -> int:
    """Slots that ``clients`` threads of this process were sold, ``each`` asking that often."""

    def buy(client: int) -> int:
        published = Published(plain_client(url), name)
        asked = (f"s-{number}-{client}-{turn}" for turn in range(each))
        return sum(published.place(one, LEARNER) is not None for one in asked)

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(buy, range(clients)))
