"""``rapido demo``: two lessons at once on a whole cell, and the proof of what a learner got."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import valkey
from rich.console import Console

from gpu_node.promptness import answer_promptly
from ops.avatar.opening import lip_report, measured_openings
from ops.avatar.speech import Speech, held_out, synthesise
from ops.cell.cell import Cell
from ops.client import CallError, CellClient
from ops.demo import media
from ops.demo.learner import Learner
from ops.figures import Figure, at_least, at_most, exactly, median, p95, show, write
from ops.speaker import Speaker

SAMPLES = 40
LANES = 2
_FRAME_TIMEOUT_S = 15.0
_SPEECH_S = 38.0
_LINE_S = 2.0
_BETWEEN_S = 0.1
"""Until a lesson's end is dealt with: the next one is measured, not the last one's leaving."""
_GIVE_UP_S = 300.0
_SILENT, _LOUD = 0.004, 0.02
_LONG = "Now listen carefully while I read you a line without any pause"


@dataclass
class Proof:
    """What was gathered, in ms unless named otherwise."""

    answers: list[float] = field(default_factory=list)
    first_frames: list[float] = field(default_factory=list)
    bare_first_frames: list[float] = field(default_factory=list)
    bare_latencies: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    fps: list[float] = field(default_factory=list)
    lips: dict[str, float] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)


async def demo(cell: Cell, out: Path, console: Console) -> dict[str, Figure]:
    """All figures; writes avatar.mp4, frames.png and report.json under `out`."""
    proof = Proof()
    with CellClient(cell.url, cell.client_key) as client:
        _say(console, "a bare publisher, for comparison")
        await _bare(cell, proof)
        _say(console, f"{SAMPLES} lessons started and ended, {LANES} at a time")
        await _many_starts(cell, client, proof)
        _say(console, "two lessons at once: one speaks, one is interrupted again and again")
        learner, speech = await _two_lessons(client, proof)
        _say(console, "the film, the sheet, the figures")
        left, _ = await asyncio.gather(
            _settle(cell), asyncio.to_thread(_film, out, learner, speech, proof)
        )
    figures = _figures(proof, left)
    write(out / "report.json", "demo", figures)
    return figures


def _say(console: Console, text: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim]  {text}")


async def _bare(cell: Cell, proof: Proof) -> None:
    """Connect → first frame and frame latency of livekit.rtc alone, in a process like a worker."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.demo.bare", stdin=-1, stdout=-1
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the bare publisher has no pipes")
    await process.stdout.readline()

    async def lane(lane_number: int) -> None:
        for number in range(SAMPLES // LANES):
            room = f"bare-{lane_number}-{number}"
            learner = Learner()
            began = time.monotonic()
            line = f"{room} {cell.livekit_url} {_token(cell, 'avatar', room)}\n"
            process.stdin.write(line.encode())  # type: ignore[union-attr]
            await learner.join(cell.livekit_url, _token(cell, "learner", room))
            await asyncio.wait_for(learner.first_frame.wait(), _FRAME_TIMEOUT_S)
            proof.bare_first_frames.append((learner.seen[0].at_s - began) * 1000)
            await asyncio.sleep(0.25)
            proof.bare_latencies += _latencies(learner)[3:]
            process.stdin.write(f"{room}\n".encode())  # type: ignore[union-attr]
            await learner.leave()

    await asyncio.gather(*(lane(number) for number in range(LANES)))
    process.stdin.close()
    await process.wait()


def _token(cell: Cell, identity: str, room: str) -> str:
    from livekit import api

    grants = api.VideoGrants(room_join=True, room=room)
    token = api.AccessToken(cell.livekit_key, cell.livekit_secret)
    return token.with_identity(identity).with_grants(grants).to_jwt()


def _latencies(learner: Learner) -> list[float]:
    """Frame handed over → decoded; the publisher stamps wall time, so both clocks are compared."""
    ahead = time.time() - time.monotonic()
    return [(one.at_s + ahead - one.handed_s) * 1000 for one in learner.seen if one.handed_s]


async def _many_starts(cell: Cell, client: CellClient, proof: Proof) -> None:
    async def lane(name: str, lessons: int, proof: Proof) -> None:
        for number in range(lessons):
            began = time.monotonic()
            session = await _start(client, f"{name}-{number}-{began:.3f}", proof)
            learner = Learner()
            await learner.join(session["livekit"]["url"], session["livekit"]["token"])
            await asyncio.wait_for(learner.first_frame.wait(), _FRAME_TIMEOUT_S)
            proof.first_frames.append((learner.seen[0].at_s - began) * 1000)
            await learner.leave()
            await asyncio.to_thread(client.end, session["session_id"])
            await asyncio.sleep(_BETWEEN_S)

    # a first lesson each, until its record is there: what is measured is a warm cell
    cold = Proof()
    await asyncio.gather(*(lane(f"cold-{at}", 1, cold) for at in range(LANES)))
    await asyncio.to_thread(_until_recorded, cell, set(cold.sessions))
    proof.sessions += cold.sessions
    lessons = SAMPLES // LANES
    await asyncio.gather(*(lane(f"start-{at}", lessons, proof) for at in range(LANES)))


async def _start(client: CellClient, lesson: str, proof: Proof) -> dict[str, Any]:
    began = time.monotonic()
    session = await asyncio.to_thread(client.start, lesson, learner={"identity": "learner"})
    proof.answers.append((time.monotonic() - began) * 1000)
    proof.sessions.append(session["session_id"])
    return session


async def _two_lessons(client: CellClient, proof: Proof) -> tuple[Learner, Speech]:
    # before the lessons: a second of work would hold up who watches them
    speech = held_out().first(_SPEECH_S)
    line = synthesise(_LONG, "en-us+f5").first(_LINE_S)
    stamp = f"{time.time():.0f}"
    sessions = [await _start(client, f"lesson-{name}-{stamp}", proof) for name in ("a", "b")]
    learners = [Learner(keep=True), Learner()]
    speakers = []
    for session, learner in zip(sessions, learners, strict=True):
        access = session["livekit"]
        await learner.join(access["url"], access["token"])
        grant = await asyncio.to_thread(client.token, session["session_id"], "voice")
        speaker = Speaker(f"avatar-{session['session_id']}")
        await speaker.join(grant["url"], grant["token"])
        speakers.append(speaker)
    for learner in learners:
        await asyncio.wait_for(learner.first_frame.wait(), _FRAME_TIMEOUT_S)
    await asyncio.sleep(1.0)
    began = time.monotonic()
    talk = asyncio.create_task(_talk(speakers[0], speech))
    interrupts = await _interruptions(speakers[1], learners[1], line)
    await talk
    ended = time.monotonic()
    for learner in learners:
        shown = [one.at_s for one in learner.seen if began + 1 <= one.at_s <= ended - 0.2]
        proof.fps.append((len(shown) - 1) / (shown[-1] - shown[0]) if len(shown) > 2 else 0.0)
        proof.latencies += _latencies(learner)
    proof.silences += interrupts
    for speaker, learner in zip(speakers, learners, strict=True):
        await speaker.leave()
        await learner.leave()
    for session in sessions:
        await asyncio.to_thread(client.end, session["session_id"])
    return learners[0], speech


async def _talk(speaker: Speaker, speech: Speech) -> None:
    await speaker.say(speech.pcm, speech.sample_rate)
    limit_s = len(speech.pcm) / speech.sample_rate + 15
    report = await asyncio.wait_for(speaker.finished.get(), limit_s)
    if report.get("interrupted"):
        raise RuntimeError("the lesson that nobody interrupted says that it was interrupted")


async def _interruptions(speaker: Speaker, learner: Learner, line: Speech) -> list[float]:
    """Interrupt → silence at the learner, once each for SAMPLES utterances of the line."""
    silences = []
    random = np.random.default_rng(5)
    for _ in range(SAMPLES):
        saying = asyncio.create_task(speaker.say(line.pcm, line.sample_rate))
        await _until_loud(learner)
        await asyncio.sleep(float(random.uniform(0.1, 0.2)))
        began = time.monotonic()
        await speaker.interrupt()
        await saying
        report = await asyncio.wait_for(speaker.finished.get(), 5.0)
        if not report.get("interrupted"):
            raise RuntimeError("an interrupted line says that it was not interrupted")
        await asyncio.sleep(0.25)
        silences.append(_silent_after(learner, began))
    return silences


async def _until_loud(learner: Learner) -> None:
    async with asyncio.timeout(_FRAME_TIMEOUT_S):
        while _rms((await learner.next_sound()).pcm) <= _LOUD:
            pass


def _rms(pcm: np.ndarray) -> float:
    return float(np.sqrt(np.mean((pcm.astype(np.float64) / 32768) ** 2)))


def _silent_after(learner: Learner, began: float) -> float:
    """Milliseconds from the call to the last piece of sound that was heard after it."""
    loud = [one.at_s for one in learner.heard if one.at_s > began and _rms(one.pcm) > _SILENT]
    return (loud[-1] - began) * 1000 if loud else 0.0


def _film(out: Path, learner: Learner, speech: Speech, proof: Proof) -> None:
    sound = media.Sound(learner.heard)
    said = speech.pcm.astype(np.float64)
    start, _ = media.find(sound, said, speech.sample_rate)
    proof.offsets += media.sound_against_picture(
        sound, learner.seen, said, speech.sample_rate, start
    )
    shown = media.pictures_during(learner.seen, sound.time_of(start), len(speech.openings))
    pictures = [media.bgr(one) for one in shown]
    measured = measured_openings(pictures)
    proof.lips = lip_report(measured, speech.openings.astype(float), speech.speaking)
    media.write_film(out / "avatar.mp4", learner)
    media.write_sheet(
        out / "frames.png", pictures[12:], said[int(0.48 * 16000) :], measured[12:],
        speech.openings[12:].astype(float),
    )  # fmt: skip


@dataclass(frozen=True)
class Left:
    """What a cell holds when all is over."""

    used: int
    leases: int
    unrecorded: int
    executions: dict[str, int]


async def _settle(cell: Cell) -> Left:
    """Waits until the records and executions are complete, at most a minute."""
    deadline = time.monotonic() + 75
    while True:
        left = await asyncio.to_thread(_left, cell)
        done = left.unrecorded == 0 and set(left.executions) == {"SUCCEEDED"} and not left.leases
        if done or time.monotonic() > deadline:
            return left
        await asyncio.sleep(1.0)


def _until_recorded(cell: Cell, sessions: set[str]) -> None:
    deadline = time.monotonic() + _FRAME_TIMEOUT_S
    while missing := sessions - _recorded(cell):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in PostgreSQL after {_FRAME_TIMEOUT_S:.0f} s: {missing}")
        time.sleep(0.1)


def _recorded(cell: Cell, status: str = "%") -> set[str]:
    """Sessions in PostgreSQL, of that status."""
    import psycopg

    with psycopg.connect(cell.database_url) as database:
        rows = database.execute("select session_id from sessions where status like %s", (status,))
        return {row[0] for row in rows}


def _left(cell: Cell) -> Left:
    from ops.cell.deploy import LocalAws

    store = valkey.Valkey.from_url(cell.store_url, decode_responses=True)
    prefix = f"{{{cell.name}}}:"
    ended = _recorded(cell, "ended")
    sessions = store.zrange(prefix + "sessions", 0, -1)
    states = LocalAws(cell.aws_url, cell.region).client("stepfunctions")
    counts: dict[str, int] = {}
    for machine in states.list_state_machines()["stateMachines"]:
        pages = states.get_paginator("list_executions").paginate(
            stateMachineArn=machine["stateMachineArn"]
        )
        for page in pages:
            for one in page["executions"]:
                counts[one["status"]] = counts.get(one["status"], 0) + 1
    return Left(
        used=sum(int(v) for v in store.hvals(prefix + "used")),
        leases=store.zcard(prefix + "exp"),
        unrecorded=len([one for one in sessions if one not in ended]),
        executions=counts,
    )


def _figures(proof: Proof, left: Left) -> dict[str, Figure]:
    succeeded, total = left.executions.get("SUCCEEDED", 0), sum(left.executions.values())
    lips, sessions = proof.lips, len(proof.sessions)
    bare_first, bare_latency = p95(proof.bare_first_frames), p95(proof.bare_latencies)
    absolute = [abs(one) for one in proof.offsets]
    return {
        "answer_p95_ms": at_most(p95(proof.answers), "ms", 60),
        "answer_p50_ms": Figure(median(proof.answers), "ms", "", None),
        "first_frame_p95_ms": at_most(p95(proof.first_frames), "ms", 1200, bare_first, 2.5),
        "first_frame_p50_ms": Figure(
            median(proof.first_frames), "ms", "", None, median(proof.bare_first_frames)
        ),
        "frame_latency_p95_ms": at_most(p95(proof.latencies), "ms", 80, bare_latency, 1.5),
        "frame_latency_p50_ms": Figure(
            median(proof.latencies), "ms", "", None, median(proof.bare_latencies)
        ),
        "fps_min": at_least(min(proof.fps, default=0.0), "fps", 24.5),
        "av_offset_p95_ms": at_most(p95(absolute), "ms", 60),
        "av_offset_p50_ms": Figure(median(proof.offsets), "ms", "", None, note="+ = sound late"),
        "interrupt_to_silence_ms": at_most(p95(proof.silences), "ms", 200),
        "lip_correlation": at_least(lips.get("correlation", 0.0), "", 0.75),
        "lip_correlation_shuffled": at_most(lips.get("shifted", 1.0), "", 0.3),
        "slots_used_left": exactly(left.used, "slots", 0),
        "leases_left": exactly(left.leases, "leases", 0),
        "sessions_recorded": exactly(sessions - left.unrecorded, "sessions", sessions),
        "executions_succeeded": exactly(succeeded, "executions", max(total, sessions)),
    }


def run(out: Path, name: str, console: Console) -> bool:
    """The whole demo; True when every figure that is asked for holds."""
    began = time.monotonic()
    faulthandler.dump_traceback_later(_GIVE_UP_S, exit=True)  # the SDK hung once in a call
    answer_promptly()  # what is measured shall not wait for who measures
    out.mkdir(parents=True, exist_ok=True)

    def tell(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    with Cell(name=name, workers=2, on_event=tell) as cell:
        try:
            figures = asyncio.run(demo(cell, out, console))
        except (CallError, TimeoutError):
            for death in cell.deaths:
                tell(death.describe())
            raise
    faulthandler.cancel_dump_traceback_later()
    show(figures, console)
    missed = [name for name, one in figures.items() if one.holds is False]
    took = time.monotonic() - began
    console.print(f"{out}/avatar.mp4  {out}/frames.png  {out}/report.json  ({took:.0f} s)")
    if missed:
        console.print(f"[red]missed: {', '.join(missed)}")
    return not missed
