"""What ``rapido bench stream`` does with many sessions: so many at once, or one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from ops.avatar.speech import held_out
from ops.bench.stream_acts import WAIT_S, asked, finish, new_session, speaker_in
from ops.bench.stream_cell import StreamCell, until
from ops.speaker import QUICKLY

_TRIES = 3


@dataclass(frozen=True)
class Held:
    """How so many streams fared: of the slowest, and of all frames.

    busy_share, stolen_share: of the machine's cores, 0..1; stolen is what its own host gave to
    other machines meanwhile, and part of busy.
    """

    fps: float
    late_percent: float
    busy_share: float = 0.0
    stolen_share: float = 0.0

    @property
    def holds(self) -> bool:
        """25 fps, 99 % of the frames at most 40 ms late."""
        return self.fps >= 24.5 and self.late_percent <= 1.0


class SlotsLoweredError(Exception):
    """The worker was late for so long that it takes fewer streams than are asked of it."""


async def fares(cell: StreamCell, streams: int, seconds: float) -> Held:
    """So many sessions, each in a room of its own and speaking without end.

    Raises SlotsLoweredError where the worker refuses some of them; none is left then.
    """
    ids = [new_session() for _ in range(streams)]
    speech = held_out().first(seconds + 9.0)
    for at, session_id in enumerate(ids):
        try:
            await asked(cell, session_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.CONFLICT:
                raise
            for started in ids[:at]:
                await finish(cell, started)
            raise SlotsLoweredError from error
    speakers = [await speaker_in(cell, session_id) for session_id in ids]
    saying = [
        asyncio.create_task(one.say(speech.pcm, speech.sample_rate, QUICKLY)) for one in speakers
    ]
    await asyncio.sleep((seconds + 9.0) / QUICKLY + 0.5)  # until all of it is sent
    before, late_before, began = cell.frames(), _lateness(cell.metrics()), time.monotonic()
    cores_before = psutil.cpu_times()
    await asyncio.sleep(seconds)
    cores_after = psutil.cpu_times()
    after, late_after, took_s = cell.frames(), _lateness(cell.metrics()), time.monotonic() - began
    for task in saying:
        task.cancel()
    await asyncio.gather(*saying, return_exceptions=True)
    for speaker in speakers:
        await speaker.leave()
    for session_id in ids:
        await finish(cell, session_id)
    fps = [(after.get(one, 0) - before.get(one, 0)) / took_s for one in ids]
    due, late = (b - a for a, b in zip(late_before, late_after, strict=True))
    return Held(min(fps), 100.0 * late / max(1.0, due), *_taken(cores_before, cores_after))


async def fares_best(
    cell: StreamCell, streams: int, seconds: float, say: Callable[[str], None]
) -> Held:
    """The first try that holds, or the best of three: what else runs here can only hinder. There
    are fewer where the worker itself finds so many to be too much."""
    best = Held(0.0, 100.0)
    for _ in range(_TRIES):
        try:
            held = await fares(cell, streams, seconds)
        except SlotsLoweredError:
            say(f"{streams} streams: refused, the worker has lowered its slots")
            break
        say(
            f"{streams} streams: {held.fps:.1f} fps, {held.late_percent:.1f} % of the frames late, "
            f"{held.busy_share:.0%} of the cores busy, {held.stolen_share:.0%} of them stolen"
        )
        best = min(best, held, key=lambda one: one.late_percent)
        if held.holds:
            break
    return best


def _taken(before: Any, after: Any) -> tuple[float, float]:
    """Of all cores' time between the two, what was not idle, and what was stolen."""
    spent = [b - a for a, b in zip(before, after, strict=True)]
    names = dict(zip(before._fields, spent, strict=True))
    counted = {name: s for name, s in names.items() if not name.startswith("guest")}
    all_s = max(sum(counted.values()), 1e-9)
    idle_s = counted["idle"] + counted.get("iowait", 0.0)
    return 1.0 - idle_s / all_s, counted.get("steal", 0.0) / all_s


def _lateness(text: str) -> tuple[float, float]:
    """Pictures that were due, and those that were over 40 ms late or never shown."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name + (sample.labels.get("le", "") if "le" in sample.labels else "")
            values[name] = sample.value
    shown = values.get("rapido_frame_lateness_seconds_count", 0.0)
    in_time = values.get("rapido_frame_lateness_seconds_bucket0.04", 0.0)
    due = shown + values.get("rapido_frames_held_total", 0.0)
    return due, due - in_time


async def growth_mb(cell: StreamCell, sessions: int, warm_up: int) -> float:
    """The worker's memory after so many sessions, above what it was after the first few."""
    process = psutil.Process(cell.pid)
    rss = []
    for count in (warm_up, sessions):
        left = count
        while left > 0:
            at_once = min(2, left, max(1, cell.slots))  # it may have been found late just now
            await asyncio.gather(*(_come_and_go(cell) for _ in range(at_once)))
            left -= at_once
        await asyncio.sleep(2.0)
        rss.append(process.memory_info().rss / 2**20)
    return rss[1] - rss[0]


async def _come_and_go(cell: StreamCell) -> None:
    session_id = new_session()
    await asked(cell, session_id)
    await until(lambda: cell.frames().get(session_id, 0) > 5, WAIT_S)
    await finish(cell, session_id)
