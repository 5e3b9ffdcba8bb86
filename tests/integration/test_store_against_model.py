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


def read(raw: Any, prefix: str) -> dict[str, Any]:
    """The store's keys in the form of the model's snapshot."""

    def hash_of(name: str) -> dict[str, str]:
        return dict(raw.hgetall(prefix + name))

    def counts(name: str) -> dict[str, int]:
        return {key: int(value) for key, value in hash_of(name).items() if int(value)}

    def times(name: str) -> dict[str, int]:
        return {key: int(at) for key, at in raw.zrange(prefix + name, 0, -1, withscores=True)}

    def scores(name: str) -> dict[str, float]:
        return dict(raw.zrange(prefix + name, 0, -1, withscores=True))

    def lease(sid: str) -> str:
        return "|".join(raw.hmget(f"{prefix}s:{sid}", "worker_id", "generation"))

    def name_of(key: str) -> str:
        return " ".join(raw.hmget(f"{prefix}class:{key}", "tenant", "class_id"))

    def of_class(key: str) -> tuple[int, int]:
        came, still = raw.hmget(f"{prefix}class:{key}", "came", "open")
        return int(came or 0), int(still or 0)

    taken = raw.zrange(prefix + "exp", 0, -1)
    leases = {sid: lease(sid) for sid in taken if sid.startswith("s-")}
    held = {key: raw.zrange(f"{prefix}held:{key}", 0, -1) for key in times("classes")}
    pace = hash_of("pace")
    workers = sorted(hash_of("used"))
    turns = scores("turns")
    return {
        "free": scores("free"),
        "w": {name: _worker(text) for name, text in hash_of("w").items()},
        "used": counts("used"),
        "st": counts("st"),
        "desired": sorted(hash_of("desired")),
        "hb": times("hb"),
        "registrations": int(raw.get(prefix + "registrations") or 0),
        "lease": leases,
        "on": {name: sorted(raw.smembers(f"{prefix}on:{name}")) for name in workers},
        "exp": times("exp"),
        "gen": int(raw.get(prefix + "gen") or 0),
        "starting": times("starting"),
        "sessions": raw.zrange(prefix + "sessions", 0, -1),
        "open": counts("open"),
        "queues": {tenant: raw.zrange(f"{prefix}q:{tenant}", 0, -1) for tenant in turns},
        "turns": turns,
        "turn": float(raw.get(prefix + "turn") or 0),
        "weights": {name: float(value) for name, value in hash_of("weights").items()},
        "tickets": times("tickets"),
        "pace": (
            int(pace["at"]) if "at" in pace else None,
            float(pace["ms"]) if "ms" in pace else None,
        ),
        "miss": {name: int(at) for name, at in hash_of("miss").items()},
        "repairs": counts("repairs"),
        "outbox": sorted(raw.zrange(prefix + "outbox", 0, -1)),
        "classes": {name_of(key): of_class(key) for key in times("classes")},
        "held": counts("held"),
        "of_class": {name_of(key): ids for key, ids in held.items() if ids},
    }


def _worker(text: str) -> tuple[int, float, int, str, float | str]:
    slots, late, registration, state, order, _ = text.split("|")
    return (
        int(slots),
        float(late),
        int(registration),
        state,
        order if order == "closed" else float(order),
    )
