"""The store: Valkey or Redis 7 and newer, every change one Lua script."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import valkey
from valkey import exceptions as errors
from valkey.backoff import ExponentialBackoff
from valkey.cluster import ValkeyCluster
from valkey.credentials import CredentialProvider
from valkey.retry import Retry

from control.adapters import store_rows as rows
from control.adapters.cost_store import CostStoreMixin
from control.adapters.demand_store import DemandStoreMixin
from control.adapters.iam_tokens import split_options, token
from control.adapters.peer_store import PeerStoreMixin
from control.adapters.planner_store import PlannerStoreMixin
from control.adapters.scaling_store import ScalingStoreMixin
from control.adapters.timetable_store import TimetableStoreMixin
from control.domain import leases
from control.domain.queueing import Line
from control.domain.session import Session
from control.services.ports import (
    Ended,
    Placed,
    Placing,
    Pulse,
    Reaped,
    StoreAway,
    Waiting,
)

_AWAY = (
    errors.ConnectionError,
    errors.TimeoutError,
    errors.ReadOnlyError,
    errors.OutOfMemoryError,
    errors.ClusterDownError,
    errors.MasterDownError,
    errors.SlotNotCoveredError,
    errors.ValkeyClusterException,
)
"""A store that is gone, full, being replaced, or no primary: nothing was changed, ask again."""
_LUA = Path(__file__).parent / "lua"
_ANSWER_TIMEOUT_S = 2.0
_PROBE_CACHE_S = 5.0
_KEY_CACHE_S = 3600
_GIVEN = (
    "lesson_id", "livekit_url", "livekit_region", "learner_identity", "learner_name",
    "agent_identity", "correlation_id", "execution", "class_id",
)  # fmt: skip
_RECORDED = (
    "tenant", "lesson_id", "avatar", "status", "region", "worker_id", "generation", "created_ms",
    "live_ms", "ended_ms", "reason",
)  # fmt: skip
_NO_KEY_CACHE_S = 30


_STORE_CLOCK = """
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
"""
_GIVEN_CLOCK = "local NOW = tonumber(ARGV[#ARGV])\n"


@cache
def _source(name: str, clocked: bool) -> tuple[str, str]:
    parts = [(_LUA / f"{part}.lua").read_text() for part in ("common", name)]
    text = "\n".join([_GIVEN_CLOCK if clocked else _STORE_CLOCK, *parts])
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def digest(*parts: str) -> str:
    """Names that clients choose become keys of one length."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def _around(names: str) -> str:
    return f",{names}," if names else ","


def _client(url: str, region: str) -> Any:
    """``cluster=true`` finds the primary of the cell's slot among the cluster's nodes;
    ``iam=CACHE`` sends the role's tokens as the URL's user."""
    plain, ours = split_options(url, "cluster", "iam")
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": _ANSWER_TIMEOUT_S,
        "socket_connect_timeout": _ANSWER_TIMEOUT_S,
    }
    if "iam" in ours:
        parts = urlsplit(plain)
        options["credential_provider"] = _RoleTokens(parts.username or "", ours["iam"], region)
        plain = plain.replace(f"{parts.username}@", "", 1)
    if ours.get("cluster") == "true":
        return cast(Any, ValkeyCluster).from_url(plain, **options)
    retry = Retry(ExponentialBackoff(cap=0.4, base=0.02), 3)
    again = [valkey.ConnectionError, valkey.TimeoutError]
    return valkey.Valkey.from_url(plain, retry=retry, retry_on_error=again, **options)


@dataclass(frozen=True)
class _RoleTokens(CredentialProvider):
    """A new token for each connection."""

    user: str
    cache: str
    region: str

    def get_credentials(self) -> tuple[str, str]:
        return self.user, token("elasticache", self.region, self.cache, {"User": self.user})


class ValkeyStore(
    PeerStoreMixin,
    PlannerStoreMixin,
    ScalingStoreMixin,
    DemandStoreMixin,
    CostStoreMixin,
    TimetableStoreMixin,
):
    """Slots, leases and sessions of one cell; docs/store.md is the contract.

    ``clock`` gives Unix ms instead of the store's own time, for tests of what time does.
    """

    def __init__(
        self, url: str, cell: str, region: str, clock: Callable[[], int] | None = None
    ) -> None:
        self._url = url
        self._prefix = f"{{{cell}}}:"
        self._region = region
        self._clock = clock
        self._failed: tuple[float, frozenset[str]] = (-1e9, frozenset())

    @cached_property
    def _valkey(self) -> Any:
        """A cluster's client asks for its nodes at once: not before the first call needs them."""
        return self._guard(lambda: _client(self._url, self._region))

    def place(self, ask: Placing) -> Placed:
        given = {name: value for name in _GIVEN if (value := getattr(ask, name)) is not None}
        if ask.own_room_token is not None:
            given["own_room"] = True
        idempotency = ask.idempotency_key
        outcome, session_id, handed = self._run(
            "place",
            ask.session_id,
            ask.tenant,
            digest(ask.tenant, ask.lesson_id),
            ask.avatar,
            repr(ask.distance),
            int(leases.SESSION_TTL_S * 1000),
            digest(ask.tenant, idempotency) if idempotency is not None else "",
            ask.fingerprint,
            int(ask.wait),
            repr(ask.weight),
            ask.most_sessions,
            json.dumps({"region": self._region, **given}, separators=(",", ":")),
            ask.own_room_token or "",
            int(ask.warm),
            digest(ask.tenant, ask.class_id) if ask.class_id is not None else "",
            ask.class_id or "",
        )
        return Placed(outcome, session_id, tuple(handed))

    def place_again(self, session_id: str, generation: int, unable: bool = False) -> Placed:
        outcome, handed = self._run(
            "place_again", session_id, generation, leases.MAX_PLACEMENTS, int(unable)
        )
        return Placed(outcome, session_id, tuple(handed))

    def confirm(self, session_id: str, generation: int) -> bool:
        return bool(self._run("confirm", session_id, generation))

    def finish(self, session_id: str, generation: int, status: str, reason: str) -> Ended:
        changed, handed = self._run("finish", session_id, generation, status, reason)
        return Ended(bool(changed), tuple(handed))

    def waiting(self, session_id: str) -> Waiting | None:
        answer = self._run("waiting", session_id)
        if not answer:
            return None
        tenant, rank, pace, *lines = answer
        each = zip(lines[::4], lines[1::4], lines[2::4], lines[3::4], strict=True)
        queues = tuple(Line(t, float(turn), float(w), int(n)) for t, turn, w, n in each)
        return Waiting(tenant, int(rank), queues, float(pace) if pace else None)

    def session(self, session_id: str) -> Session | None:
        fields = self._call("hgetall", f"{self._prefix}s:{session_id}")
        return rows.session(session_id, fields, self._region) if fields else None

    def page(
        self, tenant: str | None, before: int | None, limit: int
    ) -> tuple[list[Session], int | None]:
        """Newest first, born before ``before``; and where the next page begins, if any."""
        key = self._prefix + ("sessions" if tenant is None else f"tenant:{tenant}")
        top = "+inf" if before is None else f"({before}"
        found = self._call(
            "zrange",
            key,
            top,
            "-inf",
            desc=True,
            byscore=True,
            offset=0,
            num=limit,
            withscores=True,
        )
        ids = [sid for sid, _ in found]
        read = self._of_each(ids, lambda pipe, key: pipe.hgetall(key))
        sessions = [
            rows.session(sid, fields, self._region)
            for sid, fields in zip(ids, read, strict=True)
            if fields
        ]
        return sessions, int(found[-1][1]) if len(found) == limit else None

    def _of_each(self, ids: Sequence[str], ask: Callable[[Any, str], Any]) -> list[Any]:
        """One answer a session, in one round trip."""
        pipe = self._valkey.pipeline(transaction=False)
        for sid in ids:
            ask(pipe, f"{self._prefix}s:{sid}")
        return cast(list[Any], self._guard(pipe.execute))

    def put_task(self, session_id: str, token: str) -> None:
        self._call("hset", f"{self._prefix}s:{session_id}", "task_token", token)

    def register(self, worker_id: str, facts: dict[str, Any]) -> int:
        hardware = json.dumps(facts["hardware"], sort_keys=True)
        own = {name: facts[name] for name in ("region", "zone", "version")}
        own |= {name: facts[name] for name in ("instance_type", "market") if facts.get(name)}
        kind = digest(hardware)[:8]
        return int(
            self._run(
                "register",
                worker_id,
                json.dumps({**own, "hw": kind}, separators=(",", ":")),
                kind,
                hardware,
                _around(facts["avatars"]),
                facts["url"],
                facts["boot"],
            )
        )

    def registration(self, worker_id: str) -> int | None:
        """The worker's newest registration; None of one the store does not know."""
        raw = self._call("hget", self._prefix + "w", worker_id)
        return int(raw.split("|")[2]) if raw else None

    def heartbeat(self, worker_id: str, registration: int, heard: dict[str, Any]) -> Pulse | None:
        state, desired, revoked, handed, warm = self._run(
            "heartbeat",
            worker_id,
            registration,
            heard["state"],
            heard["slots"],
            _around(heard["avatars"]),
            heard["late"],
            json.dumps(heard["running"]),
            json.dumps(heard.get("warm", [])),
        )
        if state == "stale":
            return None
        lost = json.loads(revoked) or []
        left = tuple((one[0], int(one[1])) for one in lost)
        return Pulse(desired, left, tuple(handed), tuple(warm))

    def deregister(self, worker_id: str, registration: int) -> bool:
        return bool(self._run("deregister", worker_id, registration))

    def drain(self, worker_id: str) -> bool:
        return bool(self._run("drain", worker_id))

    def workers(self) -> list[dict[str, Any]]:
        """Each as registered and heard last, with ``used`` (``held`` of it for classes),
        ``desired`` and ``alive``; by name."""
        pipe = self._valkey.pipeline(transaction=False)
        for name in ("w", "facts", "hw", "used", "held", "desired"):
            pipe.hgetall(self._prefix + name)
        pipe.zrange(self._prefix + "hb", 0, -1, withscores=True)
        known, facts, kinds, used, held, desired, heard = self._guard(pipe.execute)
        seen = dict(heard)
        return [
            rows.worker(name, raw, facts[name], kinds)
            | {
                "used": int(used.get(name, 0)),
                "held": int(held.get(name, 0)),
                "desired": desired.get(name),
                "alive": name in seen,
                "seen": int(seen.get(name, 0)),
            }
            for name, raw in sorted(known.items())
        ]

    def used(self, worker_id: str) -> int:
        """Leases on that worker; 0 of one the store does not know."""
        return int(self._call("hget", self._prefix + "used", worker_id) or 0)

    def counts(self) -> dict[str, int]:
        """Open and recent sessions by status."""
        ids = self._call("zrange", self._prefix + "sessions", 0, -1)
        statuses = self._of_each(ids, lambda pipe, key: pipe.hget(key, "status"))
        return dict(Counter(status for status in statuses if status))

    def repairs(self) -> dict[str, int]:
        """Counts by kind of what reconciliation put right."""
        return {k: int(n) for k, n in self._call("hgetall", self._prefix + "repairs").items()}

    def reap(self, undriven_after_s: float) -> Reaped:
        undriven, handed = self._run("reap", int(undriven_after_s * 1000))
        return Reaped(tuple(undriven), tuple(handed))

    def outbox(self, limit: int) -> list[str]:
        """Snapshots of sessions that changed and are not sent, as JSON with session_id and seq."""
        found = self._call("zrange", self._prefix + "outbox", 0, limit - 1, withscores=True)
        read = self._of_each([sid for sid, _ in found], lambda pipe, key: pipe.hgetall(key))
        snapshots = []
        for (sid, seq), fields in zip(found, read, strict=True):
            known = {**json.loads(fields.get("given", "{}")), **fields}
            row = {"session_id": sid, "seq": int(seq)} | {n: known.get(n) for n in _RECORDED}
            snapshots.append(json.dumps(row))
        return snapshots

    def sent(self, entries: Sequence[str]) -> None:
        told = [json.loads(entry) for entry in entries]
        if told:
            self._run("sent", *(part for one in told for part in (one["session_id"], one["seq"])))

    def key(self, digest: str) -> dict[str, Any] | None:
        raw = self._call("get", f"{self._prefix}key:{digest}")
        return json.loads(raw) if raw else None

    def put_key(self, digest: str, facts: dict[str, Any]) -> None:
        """No longer than the key lives; ``{}``, that there is none, for half a minute."""
        left_s = facts.get("left_s") or _KEY_CACHE_S
        ttl_ms = int(1000 * min(_KEY_CACHE_S, left_s)) if facts else _NO_KEY_CACHE_S * 1000
        self._call("set", f"{self._prefix}key:{digest}", json.dumps(facts), px=max(1, ttl_ms))

    def spend(self, tenant: str, most_a_second: int) -> float:
        """0 when one more request of this second is allowed, else seconds until one is."""
        return int(self._run("spend", tenant, most_a_second)) / 1000

    def failed_livekit(self) -> frozenset[str]:
        """Regions whose last probe failed; read at most every five seconds."""
        at, known = self._failed
        if time.monotonic() - at > _PROBE_CACHE_S:
            known = frozenset(self._call("smembers", self._prefix + "livekit_failed"))
            self._failed = (time.monotonic(), known)
        return known

    def put_probes(self, ok: dict[str, bool]) -> None:
        for region, good in ok.items():
            self._call("srem" if good else "sadd", self._prefix + "livekit_failed", region)

    def ping(self) -> None:
        self._call("ping")

    def _run(self, name: str, *args: Any) -> Any:
        text, sha = _source(name, self._clock is not None)
        if self._clock is not None:
            args = (*args, self._clock())

        def run() -> Any:
            try:
                return self._valkey.evalsha(sha, 1, self._prefix, *args)
            except errors.NoScriptError:
                return self._valkey.eval(text, 1, self._prefix, *args)

        return self._guard(run)

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        return self._guard(lambda: getattr(self._valkey, method)(*args, **options))

    @staticmethod
    def _guard(action: Any) -> Any:
        try:
            return action()
        except _AWAY as error:
            raise StoreAway(str(type(error).__name__)) from error
