"""Is this worker well? Decided from what was looked at, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpu_node.engine_threads import Running

What = Literal["engine", "gpu"]
Why = Literal["engine", "gpu", "frames", "task"]


@dataclass(frozen=True)
class Limits:
    """How long is too long."""

    batch_s: float = 2.0
    beat_s: float = 2.0
    load_s: float = 120.0
    """An avatar's weights, or the measuring of the slots."""
    patience_s: float = 4.0
    """Stuck for so long before its sessions are given up: a hiccup costs no lesson."""
    frames_s: float = 3.0
    steady_s: float = 5.0
    """Well for so long before the slots come back."""
    stall_s: float = 2.0
    """Not looked for so long: this process stood still itself, and all waits begin anew."""
    lost_exit_s: float = 10.0
    stuck_exit_s: float = 120.0
    failures: int = 3
    """Pictures that failed and none that was made: is it the engine, or an avatar of theirs?"""


@dataclass(frozen=True)
class StreamLook:
    """One session; ``dead`` when its task is over and never said so."""

    session_id: str
    generation: int
    live: bool
    frames: int
    dead: bool = False


@dataclass(frozen=True)
class Look:
    """What is seen at one moment; times are on one clock."""

    at: float
    running: Running | None = None
    beat_since: float | None = None
    engine_lost: str | None = None
    failures: int = 0
    """Pictures that failed since one was made."""
    trial_failed: str | None = None
    """Why, where the engine cannot make a picture of the worker's own either."""
    gpu_fault: str | None = None
    streams: tuple[StreamLook, ...] = ()


@dataclass(frozen=True)
class Fault:
    """``lost``: it does not come back in this process."""

    what: What
    reason: str
    lost: bool


@dataclass(frozen=True)
class GivenUp:
    """A session to end as failed."""

    session_id: str
    generation: int
    why: Why
    reason: str


@dataclass(frozen=True)
class Memory:
    """What the next look is compared with."""

    looked_at: float = float("-inf")
    awake_since: float = float("-inf")
    fault: Fault | None = None
    since: float = 0.0
    """When the fault was first seen."""
    last_seen: float = 0.0
    frames: Mapping[tuple[str, int], tuple[int, float]] = field(default_factory=dict)
    """By session and generation: its frames, and since when it has so many."""


@dataclass(frozen=True)
class Verdict:
    """``fault`` is why no new session may come; ``exit``: the process must start anew; ``trial``:
    the engine is to be tried with a picture of the worker's own."""

    fault: Fault | None
    given_up: tuple[GivenUp, ...]
    exit: bool
    trial: bool = False


def decide(look: Look, before: Memory, limits: Limits) -> tuple[Verdict, Memory]:
    """The verdict, and what to remember."""
    awake = look.at if look.at - before.looked_at > limits.stall_s else before.awake_since
    seen = _fault(look, awake, limits)
    fault, since, last_seen = before.fault, before.since, before.last_seen
    if seen is not None:
        since = look.at if fault is None or seen.what != fault.what else since
        fault, last_seen = seen, look.at
    elif look.at - last_seen >= limits.steady_s:
        fault = None
    frames = _frames(look, before)
    given_up = _broken(look, frames, awake, limits)
    sick_s = look.at - max(since, awake)
    if seen is not None and (seen.lost or sick_s >= limits.patience_s):
        given_up = tuple(
            GivenUp(one.session_id, one.generation, seen.what, seen.reason) for one in look.streams
        )
    limit_s = limits.lost_exit_s if seen is not None and seen.lost else limits.stuck_exit_s
    over = seen is not None and sick_s >= limit_s
    trial = look.failures >= limits.failures
    memory = Memory(look.at, awake, fault, since, last_seen, frames)
    return Verdict(fault, given_up, over, trial), memory


def _fault(look: Look, awake: float, limits: Limits) -> Fault | None:
    def lasts(since: float | None, limit_s: float) -> bool:
        return since is not None and look.at - max(since, awake) >= limit_s

    if look.gpu_fault is not None:
        return Fault("gpu", look.gpu_fault, lost=True)
    if look.engine_lost is not None:
        return Fault("engine", f"The engine lost its device ({look.engine_lost}).", lost=True)
    kind = look.running.kind if look.running is not None else None
    since = look.running.since if look.running is not None else None
    if kind == "batch" and lasts(since, limits.batch_s):
        return Fault("engine", f"A batch has run for over {limits.batch_s:g} s.", lost=False)
    if kind == "load" and lasts(since, limits.load_s):
        return Fault("engine", f"The engine has loaded for over {limits.load_s:g} s.", lost=False)
    if kind != "load" and lasts(look.beat_since, limits.beat_s):
        return Fault(
            "engine", f"The engine has not answered for over {limits.beat_s:g} s.", lost=False
        )
    if look.failures >= limits.failures and look.trial_failed is not None:
        return Fault("engine", f"The engine makes no picture ({look.trial_failed}).", lost=False)
    return None


def _frames(look: Look, before: Memory) -> dict[tuple[str, int], tuple[int, float]]:
    kept: dict[tuple[str, int], tuple[int, float]] = {}
    for one in look.streams:
        key = (one.session_id, one.generation)
        known = before.frames.get(key)
        kept[key] = known if known and known[0] == one.frames else (one.frames, look.at)
    return kept


def _broken(
    look: Look,
    frames: Mapping[tuple[str, int], tuple[int, float]],
    awake: float,
    limits: Limits,
) -> tuple[GivenUp, ...]:
    found = []
    for one in look.streams:
        _, since = frames[one.session_id, one.generation]
        if one.dead:
            reason = "The stream's task ended without a word."
            found.append(GivenUp(one.session_id, one.generation, "task", reason))
        elif one.live and look.at - max(since, awake) >= limits.frames_s:
            reason = f"The stream showed no frame for {limits.frames_s:g} s."
            found.append(GivenUp(one.session_id, one.generation, "frames", reason))
    return tuple(found)
