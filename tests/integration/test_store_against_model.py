"""The scripts do what the model does: the same operations on both, every answer compared."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import valkey
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from control.adapters.store import ValkeyStore
from control.domain.session import Session
from tests.store_operations import Operations

FLOATS = ("free", "turns", "weights", "turn", "pace", "w")


def test_the_scripts_do_what_the_model_does(valkey_url: str) -> None:
    raw = valkey.Valkey.from_url(valkey_url, decode_responses=True)

    class BesideTheStore(Operations):
        def __init__(self) -> None:
            super().__init__()
            self.cell = "m" + secrets.token_hex(6)
            self.real = ValkeyStore(valkey_url, self.cell, "us-east-1", clock=lambda: self.now)

        @invariant()
        def both_hold_the_same(self) -> None:
            expected, found = self.model.snapshot(), read(raw, f"{{{self.cell}}}:")
            for name in expected:
                want, got = without_strangers(expected[name]), without_strangers(found[name])
                if name in FLOATS:
                    want, got = pytest.approx(flat(want), abs=2e-6), flat(got)
                assert got == want, name

        @invariant()
        def both_know_the_same_of_every_session(self) -> None:
            assert self.real is not None
            for session_id in self.ids[-6:]:
                expected, found = self.model.session(session_id), self.real.session(session_id)
                assert bare(found) == bare(expected)
                if expected is not None and found is not None:
                    assert reasons(found) == reasons(expected)

    run_state_machine_as_test(
        BesideTheStore,
        settings=settings(
            max_examples=70,
            stateful_step_count=40,
            deadline=None,
            # no shrinking: with a store beside it that takes minutes
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )


def bare(session: Session | None) -> Session | None:
    """All of a session but why it was placed where it is."""
    return None if session is None else replace(session, why={})


def reasons(session: Session) -> dict[str, Any]:
    """Its why, without the order of the candidates."""
    why = dict(session.why)
    if not why:
        return {}
    why["excluded"] = sorted(why["excluded"] or ())
    why["candidates"] = sorted(
        (
            {**one, "late": round(float(one["late"]), 6), "holds_avatar": bool(one["holds_avatar"])}
            for one in why["candidates"] or ()
        ),
        key=lambda one: str(one["worker_id"]),
    )
    return why


def without_strangers(part: Any) -> Any:
    """Of a session that was never asked for the store keeps what it can: not compared."""
    if isinstance(part, list):
        return [one for one in part if "stranger" not in str(one)]
    if isinstance(part, dict):
        return {name: one for name, one in part.items() if "stranger" not in name and name}
    return part


def flat(part: Any) -> dict[str, Any]:
    """Nested floats as one dict that approx can compare."""
    return dict(_leaves("", part))


def _leaves(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        for name, one in part.items():
            yield from _leaves(f"{path}/{name}", one)
    elif isinstance(part, list | tuple):
        for index, one in enumerate(part):
            yield from _leaves(f"{path}/{index}", one)
    elif isinstance(part, str):
        yield f"{path}={part}", 1.0
    elif part is not None:
        yield path, float(part)


_HASHES = ("w", "used", "st", "desired", "open", "weights", "pace", "miss", "repairs")
_SORTED = ("free", "hb", "exp", "starting", "sessions", "turns", "tickets", "outbox")
_NUMBERS = ("registrations", "gen", "turn")


def read(raw: Any, prefix: str) -> dict[str, Any]:
    """The store's keys in the form of the model's snapshot; few round trips, for it is read after
    every step."""
    asked = raw.pipeline(transaction=False)
    for name in _HASHES:
        asked.hgetall(prefix + name)
    for name in _SORTED:
        asked.zrange(prefix + name, 0, -1, withscores=True)
    for name in _NUMBERS:
        asked.get(prefix + name)
    found = dict(zip((*_HASHES, *_SORTED, *_NUMBERS), asked.execute(), strict=True))
    leased, waiting = [sid for sid, _ in found["exp"]], [tenant for tenant, _ in found["turns"]]
    for sid in leased:
        asked.hmget(f"{prefix}s:{sid}", "worker_id", "generation")
    for tenant in waiting:
        asked.zrange(f"{prefix}q:{tenant}", 0, -1)
    answers = asked.execute()
    leases = dict(zip(leased, map("|".join, answers[: len(leased)]), strict=True))
    queues = dict(zip(waiting, answers[len(leased) :], strict=True))
    workers = sorted({one.rpartition("|")[0] for one in leases.values()})
    for name in workers:
        asked.smembers(f"{prefix}on:{name}")
    on = dict(zip(workers, map(sorted, asked.execute()), strict=True))

    def counts(name: str) -> dict[str, int]:
        return {key: int(value) for key, value in found[name].items() if int(value)}

    def times(name: str) -> dict[str, int]:
        return {key: int(at) for key, at in found[name]}

    pace = found["pace"]
    return {
        "free": dict(found["free"]),
        "w": {name: _worker(text) for name, text in found["w"].items()},
        "used": counts("used"),
        "st": counts("st"),
        "desired": sorted(found["desired"]),
        "hb": times("hb"),
        "registrations": int(found["registrations"] or 0),
        "lease": leases,
        "on": on,
        "exp": times("exp"),
        "gen": int(found["gen"] or 0),
        "starting": times("starting"),
        "sessions": [sid for sid, _ in found["sessions"]],
        "open": counts("open"),
        "queues": queues,
        "turns": dict(found["turns"]),
        "turn": float(found["turn"] or 0),
        "weights": {name: float(value) for name, value in found["weights"].items()},
        "tickets": times("tickets"),
        "pace": (
            int(pace["at"]) if "at" in pace else None,
            float(pace["ms"]) if "ms" in pace else None,
        ),
        "miss": {name: int(at) for name, at in found["miss"].items()},
        "repairs": counts("repairs"),
        "outbox": sorted(sid for sid, _ in found["outbox"]),
    }


def _worker(text: str) -> tuple[int, float, int, str]:
    slots, late, registration, state, _ = text.split("|")
    return int(slots), float(late), int(registration), state
