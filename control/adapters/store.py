"""The store: Valkey or Redis 7 and newer, every change one Lua script."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import valkey
from valkey.backoff import ExponentialBackoff
from valkey.retry import Retry

from control.domain import leases, placement
from control.domain.session import Session
from control.services.ports import Outcome, Placing, Pulse, StoreAway

_LUA = Path(__file__).parent / "lua"
_PROBE_CACHE_S = 5.0
_KEY_CACHE_S = 3600
_NO_KEY_CACHE_S = 30


@cache
def _source(name: str) -> tuple[str, str]:
    text = (_LUA / "common.lua").read_text() + "\n" + (_LUA / f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


class ValkeyStore:
    """Slots, leases and sessions of one cell; see lua/common.lua for the keys."""

    def __init__(self, url: str, cell: str, region: str) -> None:
        self._valkey = valkey.Valkey.from_url(
            url,
            decode_responses=True,
            socket_timeout=2.0,
            socket_connect_timeout=2.0,
            retry=Retry(ExponentialBackoff(cap=0.4, base=0.02), 3),
            retry_on_error=[valkey.ConnectionError, valkey.TimeoutError],
        )
        self._prefix = f"{{{cell}}}:"
        self._region = region
        self._failed: tuple[float, frozenset[str]] = (-1e9, frozenset())

    def place(self, ask: Placing) -> tuple[Outcome, str]:
        tenant = ask.tenant
        fields = {
            name: value
            for name in (
                "room", "livekit_url", "livekit_region", "learner_identity", "learner_name",
                "own_room_token", "agent_identity", "correlation_id", "execution",
            )
            if (value := getattr(ask, name)) is not None
        }  # fmt: skip
        body: dict[str, Any] = {
            "session_id": ask.session_id,
            "tenant": tenant,
            "lesson_id": ask.lesson_id,
            "avatar": ask.avatar,
            "region": self._region,
            "distance": ask.distance,
            "fields": fields,
            "fingerprint": ask.fingerprint,
            "lesson_key": f"{self._prefix}lesson:{_digest(tenant, ask.lesson_id)}",
            "margin": placement.AVATAR_MARGIN,
            "unconfirmed_ttl_ms": int(leases.UNCONFIRMED_TTL_S * 1000),
            "session_ttl_ms": int(leases.SESSION_TTL_S * 1000),
        }
        if ask.idempotency_key is not None:
            body["idempotency_key"] = f"{self._prefix}idem:{_digest(tenant, ask.idempotency_key)}"
        outcome, session_id = self._run("place", json.dumps(body))
        return outcome, session_id

    def place_again(self, session_id: str, generation: int) -> Outcome:
        outcome: Outcome = self._run(
            "place_again",
            session_id,
            generation,
            leases.MAX_PLACEMENTS,
            int(leases.UNCONFIRMED_TTL_S * 1000),
            placement.AVATAR_MARGIN,
        )[0]
        return outcome

    def activate(self, session_id: str, generation: int) -> bool:
        ttl_ms = int(leases.LIVE_TTL_S * 1000)
        return bool(self._run("activate", session_id, generation, ttl_ms))

    def finish(self, session_id: str, generation: int, status: str, reason: str) -> bool:
        return bool(self._run("finish", session_id, generation, status, reason))

    def session(self, session_id: str) -> Session | None:
        fields = self._call("hgetall", f"{self._prefix}s:{session_id}")
        return _session(session_id, fields) if fields else None

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
        sessions = [_session(sid, fields) for sid, fields in zip(ids, read, strict=True) if fields]
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
        return int(self._run("register", worker_id, json.dumps(facts)))

    def heartbeat(self, worker_id: str, registration: int, heard: dict[str, Any]) -> Pulse | None:
        ttl_ms = int(leases.LIVE_TTL_S * 1000)
        state, desired, revoked = self._run(
            "heartbeat", worker_id, registration, json.dumps(heard), ttl_ms
        )
        if state == "stale":
            return None
        lost = json.loads(revoked) or []
        return Pulse(desired, tuple((one[0], int(one[1])) for one in lost))

    def deregister(self, worker_id: str, registration: int) -> bool:
        return bool(self._run("deregister", worker_id, registration))

    def drain(self, worker_id: str) -> bool:
        return bool(self._run("drain", worker_id))

    def workers(self) -> list[dict[str, Any]]:
        """Each as registered, with ``used``, ``desired`` and ``alive``; by name."""
        pipe = self._valkey.pipeline(transaction=False)
        for name in ("w", "used", "desired"):
            pipe.hgetall(self._prefix + name)
        pipe.zrange(self._prefix + "hb", 0, -1)
        known, used, desired, heard = self._guard(pipe.execute)
        return [
            {
                **json.loads(raw),
                "worker_id": name,
                "used": int(used.get(name, 0)),
                "desired": desired.get(name),
                "alive": name in heard,
            }
            for name, raw in sorted(known.items())
        ]

    def counts(self) -> dict[str, int]:
        """Open and recent sessions by status."""
        ids = self._call("zrange", self._prefix + "sessions", 0, -1)
        statuses = self._of_each(ids, lambda pipe, key: pipe.hget(key, "status"))
        return dict(Counter(status for status in statuses if status))

    def reap(self, undriven_after_s: float) -> list[str]:
        """Drops what ran out; returns the sessions that have been starting for that long."""
        return cast(list[str], self._run("reap", 50, int(undriven_after_s * 1000)))

    def outbox(self, limit: int) -> list[str]:
        return cast(list[str], self._call("zrange", self._prefix + "outbox", 0, limit - 1))

    def sent(self, entries: Sequence[str]) -> None:
        if entries:
            self._call("zrem", self._prefix + "outbox", *entries)

    def key(self, digest: str) -> dict[str, Any] | None:
        raw = self._call("get", f"{self._prefix}key:{digest}")
        return json.loads(raw) if raw else None

    def put_key(self, digest: str, facts: dict[str, Any]) -> None:
        """No longer than the key lives; ``{}``, that there is none, for half a minute."""
        left_s = facts.get("left_s") or _KEY_CACHE_S
        ttl_ms = int(1000 * min(_KEY_CACHE_S, left_s)) if facts else _NO_KEY_CACHE_S * 1000
        self._call("set", f"{self._prefix}key:{digest}", json.dumps(facts), px=max(1, ttl_ms))

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
        text, sha = _source(name)

        def run() -> Any:
            try:
                return self._valkey.evalsha(sha, 1, self._prefix, *args)
            except valkey.exceptions.NoScriptError:
                return self._valkey.eval(text, 1, self._prefix, *args)

        return self._guard(run)

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        return self._guard(lambda: getattr(self._valkey, method)(*args, **options))

    @staticmethod
    def _guard(action: Any) -> Any:
        try:
            return action()
        except (valkey.exceptions.ConnectionError, valkey.exceptions.TimeoutError) as error:
            raise StoreAway(str(type(error).__name__)) from error


def _session(session_id: str, fields: dict[str, str]) -> Session:
    return Session(
        session_id=session_id,
        tenant=fields["tenant"],
        lesson_id=fields["lesson_id"],
        avatar=fields["avatar"],
        status=fields["status"],
        region=fields["region"],
        worker_id=fields.get("worker_id"),
        worker_url=fields.get("worker_url", ""),
        worker_registration=int(fields.get("worker_registration", 0)),
        generation=int(fields.get("generation", 0)),
        placements=int(fields.get("placements", 0)),
        created_ms=int(fields["created_ms"]),
        expires_ms=int(fields["expires_ms"]),
        ended_ms=int(fields["ended_ms"]) if "ended_ms" in fields else None,
        reason=fields.get("reason"),
        room=fields.get("room"),
        livekit_url=fields.get("livekit_url", ""),
        livekit_region=fields.get("livekit_region"),
        learner_identity=fields.get("learner_identity", "learner"),
        learner_name=fields.get("learner_name"),
        own_room_token=fields.get("own_room_token"),
        agent_identity=fields.get("agent_identity"),
        correlation_id=fields.get("correlation_id"),
        execution=fields.get("execution", session_id),
        task_token=fields.get("task_token"),
        why=json.loads(fields.get("why", "{}")),
    )
