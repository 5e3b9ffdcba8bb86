"""``rapido bench stream``: one worker as it ships, a real LiveKit, and what a learner gets."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gpu_node.promptness import answer_promptly
from ops.bench import stream_acts as acts
from ops.bench import stream_many as many
from ops.bench.plot import Line, log_log
from ops.bench.stream_cell import StreamCell, until
from ops.demo.learner import Learner
from ops.figures import Figure, at_least, at_most, median, p95, write

Say = Callable[[str], None]
_ALONE = {"RAPIDO_CPU_SHARE": "1.0"}
_WAIT_S = 15.0
_CALM_S = 300.0
"""Calm of 30 s brings one slot back."""
_MOST_TRIED = 400
_STAYS, _STAY_S = 8, 3.0


@dataclass(frozen=True)
class Size:
    """``samples`` of each latency."""

    samples: int
    offset_s: float
    rated_s: float
    trial_s: float
    sessions: int


FULL = Size(40, 1800.0, 20.0, 8.0, 500)
QUICK = Size(40, 110.0, 8.0, 6.0, 100)


@dataclass
class Gathered:
    """Everything measured, in ms unless named otherwise."""

    bare_first: list[float] = field(default_factory=list)
    bare_latency: list[float] = field(default_factory=list)
    bare_speech: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    interrupts: list[float] = field(default_factory=list)
    speech: list[float] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    boot_s: float = 0.0
    slots: int = 0
    rated: many.Held = field(default_factory=lambda: many.Held(0.0, 100.0))
    tried: dict[int, many.Held] = field(default_factory=dict)
    growth_mb: float = 0.0


def stream(out: Path, quick: bool, say: Say) -> dict[str, Figure]:
    """First frames, latencies, sync, interruption, capacity, memory; a bare publisher beside."""
    answer_promptly()
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder, StreamCell(Path(folder), say) as cell:
        gathered = asyncio.run(_acts(cell, size, Path(folder), say))
    figures = _figures(gathered, size)
    write(out / "stream.json", "stream", figures)
    _draw(out / "stream.svg", gathered)
    return figures


async def _acts(cell: StreamCell, size: Size, folder: Path, say: Say) -> Gathered:
    got = Gathered()
    say("a bare publisher, for comparison")
    await _bare(cell, size.samples, got)
    say("a worker boots, and tries how many streams it holds")
    cache = {**_ALONE, "XDG_CACHE_HOME": str(folder / "cache")}
    got.boot_s = await asyncio.to_thread(cell.start_worker, cache)
    got.slots = cell.slots
    say(f"it announces {got.slots} slots after {got.boot_s:.1f} s; first frames, rooms cold")
    got.cold = await acts.first_frames_cold(cell, size.samples)
    say("first frames, rooms warm")
    warm = await acts.warm_starts(cell, size.samples, _STAYS, _STAY_S)
    got.warm, got.early = warm.first_frames, warm.latencies
    async with acts.lesson(cell) as room:
        say("interrupted again and again")
        got.interrupts = await acts.interruptions(room, size.samples)
        say("a voice in real time")
        got.speech = await acts.speech_delays(cell, room, 8)
    if cell.slots < got.slots:
        say(f"it was late and announces {cell.slots}: waiting until it is calm again")
        with contextlib.suppress(TimeoutError):
            await until(lambda: cell.slots >= got.slots, _CALM_S)
    say(f"{got.slots} streams at once, all speaking")
    got.rated = await many.fares_best(cell, max(1, got.slots), size.rated_s, say)
    say(f"{size.sessions} sessions come and go")
    got.growth_mb = await many.growth_mb(cell, size.sessions, 80)
    await asyncio.to_thread(cell.stop_worker)
    say("more and more streams, until they do not hold")
    free = {**_ALONE, "RAPIDO_SLOTS": str(_MOST_TRIED)}
    await asyncio.to_thread(cell.start_worker, free)
    await _true_slots(cell, got, size, say)
    async with acts.lesson(cell) as room:
        say(f"sound against picture, {size.offset_s:.0f} s")
        got.offsets = await acts.offsets(room, size.offset_s)
        got.latency = acts.latencies(room.learner)
    return got


async def _bare(cell: StreamCell, samples: int, got: Gathered) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.demo.bare", stdin=-1, stdout=-1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    for number in range(samples):
        room = f"bare-{number}"
        learner = Learner()
        await learner.join(cell.livekit_url, cell.token("learner", room))
        began = asyncio.get_running_loop().time()
        process.stdin.write(f"{room} {cell.livekit_url} {cell.token('avatar', room)}\n".encode())
        await asyncio.wait_for(learner.first_frame.wait(), _WAIT_S)
        got.bare_first.append((learner.seen[0].at_s - began) * 1000)
        await asyncio.sleep(0.4)
        got.bare_latency += acts.latencies(learner)[3:]
        process.stdin.write(f"{room}\n".encode())
        await learner.leave()
    room = "bare-relay"
    learner = Learner()
    await learner.join(cell.livekit_url, cell.token("learner", room))
    relayed = f"{room} {cell.livekit_url} {cell.token('avatar', room)} relay\n"
    process.stdin.write(relayed.encode())
    await asyncio.wait_for(learner.first_frame.wait(), _WAIT_S)
    got.bare_speech = await acts.speech_delays(cell, acts.Room(room, learner), 8, 0.0)
    process.stdin.write(f"{room}\n".encode())
    await learner.leave()
    process.stdin.close()
    await process.wait()


async def _true_slots(cell: StreamCell, got: Gathered, size: Size, say: Say) -> None:
    """One more at a time from what was announced, or fewer where that does not hold."""
    at = max(1, got.slots)
    step = max(1, at // 20)
    for few in {1, max(1, at // 2)} - {at}:
        got.tried[few] = await many.fares_best(cell, few, size.trial_s, say)
    got.tried[at] = await many.fares_best(cell, at, size.trial_s, say)
    up = got.tried[at].holds
    while 1 <= (at := at + step if up else at - step) <= _MOST_TRIED:
        got.tried[at] = await many.fares_best(cell, at, size.trial_s, say)
        if got.tried[at].holds != up:
            return


def _figures(got: Gathered, size: Size) -> dict[str, Figure]:
    bare_first, bare_latency = p95(got.bare_first), p95(got.bare_latency)
    true = max((n for n, held in got.tried.items() if held.holds), default=0)
    share = got.slots / true if true else 0.0
    offsets = [abs(one) for one in got.offsets]
    growth_mb = got.growth_mb * 500 / size.sessions
    return {
        "first_frame_p95_ms": at_most(p95(got.cold), "ms", 700, bare_first, 1.5),
        "first_frame_p50_ms": Figure(median(got.cold), "ms", "", None, median(got.bare_first)),
        "first_frame_warm_p95_ms": at_most(p95(got.warm), "ms", 300, bare_first, 1.5),
        "first_frame_warm_p50_ms": Figure(median(got.warm), "ms", "", None, median(got.bare_first)),
        "frame_latency_p95_ms": at_most(p95(got.latency), "ms", 60, bare_latency, 1.5),
        "frame_latency_early_p95_ms": Figure(p95(got.early), "ms", "", None, bare_latency),
        "interrupt_p95_ms": at_most(p95(got.interrupts), "ms", 150),
        "speech_latency_p95_ms": at_most(p95(got.speech), "ms", 120, p95(got.bare_speech), 1.5),
        "speech_latency_p50_ms": Figure(
            median(got.speech), "ms", "", None, median(got.bare_speech)
        ),
        "av_offset_p95_ms_30min": Figure(
            p95(offsets), "ms", "≤ 40", p95(offsets) <= 40, note=f"over {size.offset_s:.0f} s"
        ),
        "av_offset_p50_ms": Figure(median(got.offsets), "ms", "", None, note="+ = sound late"),
        "fps_at_rated_slots": at_least(got.rated.fps, "fps", 24.5),
        "late_percent_at_rated_slots": Figure(got.rated.late_percent, "%", "", None),
        "busy_percent_at_rated_slots": Figure(
            100.0 * got.rated.busy_share, "%", "", None, note="of the machine's cores, by whoever"
        ),
        "announced_vs_true_slots": Figure(
            value=share,
            unit="",
            goal="0.8 to 1.0",
            holds=0.8 <= share <= 1.0,
            baseline=true,
            ratio=share,
            note="ratio = announced ÷ the most that held",
            baseline_unit="slots",
        ),
        "slots_announced": Figure(got.slots, "slots", "", None),
        "measured_in_s": at_most(got.boot_s, "s", 30),
        "rss_growth_mb_500_sessions": Figure(
            growth_mb, "MB", "≤ 30", growth_mb <= 30, note=f"from {size.sessions} sessions"
        ),
    }


def _draw(path: Path, got: Gathered) -> None:
    """Frames a second and late frames by the number of streams; on the right the limit."""
    tried = dict(sorted(got.tried.items()))
    lines = (
        Line("frames a second", "#2a78d6", {n: max(0.1, held.fps) for n, held in tried.items()}),
        Line(
            "% late over 40 ms",
            "#d6642a",
            {n: max(0.1, held.late_percent) for n, held in tried.items()},
            "6 4",
        ),
    )
    title = "A worker's streams: the slowest one's frames a second, and late frames"
    path.write_text(log_log(title, "streams at once, all speaking", "", lines))
