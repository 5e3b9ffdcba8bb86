"""What the store keeps about peers: their standing, their open lessons, what each was told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from control.domain.peers import Twin
from control.services.peer_ports import Double, LessonEntry, OwnSummary, PeerStanding, Sought

_UNWELL_MS = 30_000
_SHORT_MS = 180_000
_DIRECTORY_S = 24 * 3600


class PeerStoreMixin:
    """The part of ValkeyStore that peers need."""

    _prefix: str
    _run: Callable[..., Any]
    _call: Callable[..., Any]

    def due(self, what: str, every_ms: int) -> bool:
        """True for one caller in that time, whichever comes first."""
        return bool(self._call("set", f"{self._prefix}due:{what}", 1, nx=True, px=every_ms))

    def release(self, what: str) -> None:
        """Due again at once."""
        self._call("delete", f"{self._prefix}due:{what}")

    def summary(self, peer: str, most: int) -> OwnSummary:
        """What ``peer`` does not know yet, at most ``most`` changes."""
        free, best, unwell, since, sequence, more, changes = self._run("summary", peer, most)
        return OwnSummary(
            free_slots=max(0, free),
            best_score=_score(best),
            accepting=not unwell and best != "",
            since=since,
            sequence=sequence,
            more=bool(more),
            lessons=tuple(_entry(change) for change in changes),
            short_slots=int(self._call("get", self._prefix + "short") or 0),
        )

    def acknowledge(self, peer: str, sequence: int) -> None:
        """The peer knows the changes up to there."""
        self._call("hset", self._prefix + "acked", peer, sequence)

    def hear(
        self, peer: str, told: OwnSummary, most_doubles: int
    ) -> tuple[int, tuple[Double, ...]]:
        """Keeps a peer's summary; the sequence known now, and some doubles."""
        standing = {
            "free_slots": told.free_slots,
            "best_score": told.best_score,
            "accepting": told.accepting,
            "short_slots": told.short_slots,
        }
        changes = [[c.lesson, c.session_id, c.born_ms, c.over] for c in told.lessons]
        known, doubles = self._run(
            "hear",
            peer,
            json.dumps(standing),
            told.since,
            told.sequence,
            int(told.more),
            json.dumps(changes),
            most_doubles,
        )
        return int(known), tuple(_double(one) for one in json.loads(doubles))

    def settled(self, peer: str, lesson: str) -> None:
        """That double is dealt with."""
        self._call("srem", f"{self._prefix}twice:{peer}", lesson)

    def seek(
        self, tenant: str, lesson_id: str, peers: Sequence[str], class_id: str | None = None
    ) -> Sought:
        """Where the lesson is open, how everybody stands, and what is held for its class here."""
        of_class = "" if class_id is None else _digest(tenant, class_id)
        own, best, unwell, now, standings, owners, held = self._run(
            "seek", _digest(tenant, lesson_id), of_class, len(peers), *peers
        )
        told = {p: _standing(raw, int(now)) for p, raw in zip(peers, standings, strict=True) if raw}
        known = {p: _twin(raw) for p, raw in zip(peers, owners, strict=True) if raw}
        score = _score(best) if best else None
        return Sought(own or None, score, not unwell, told, known, int(held))

    def remember(
        self, peer: str, tenant: str, lesson_id: str, session_id: str, born_ms: int
    ) -> None:
        """The lesson is open there, before the peer's own summary says so."""
        key = f"{self._prefix}peer:{peer}"
        self._call("hset", key, _digest(tenant, lesson_id), f"{session_id}|{born_ms}")
        self._call("expire", key, _DIRECTORY_S)

    def standings(self, now_ms: int) -> dict[str, PeerStanding]:
        """What every peer told last."""
        told = self._call("hgetall", self._prefix + "peers")
        return {peer: _standing(raw, now_ms) for peer, raw in told.items()}

    def put_short(self, slots: int) -> None:
        """What this cell's planner could not have; believed for three minutes."""
        self._call("set", self._prefix + "short", slots, px=_SHORT_MS)

    def put_well(self, well: bool) -> None:
        """Whether sessions can be set up here; that they cannot is believed for 30 s."""
        if well:
            self._call("delete", self._prefix + "unwell")
        else:
            self._call("set", self._prefix + "unwell", 1, px=_UNWELL_MS)


def _digest(tenant: str, name: str) -> str:
    from control.adapters.store import digest  # it imports this module

    return digest(tenant, name)


def _score(text: str) -> float:
    return min(0.6, max(0.0, float(text or 0)))


def _entry(change: str) -> LessonEntry:
    lesson, session_id, born_ms, over = change.split("|")
    return LessonEntry(lesson, session_id, int(born_ms), over == "1")


def _twin(raw: str) -> Twin:
    session_id, _, born_ms = raw.rpartition("|")
    return Twin(session_id, int(born_ms))


def _standing(raw: str, now_ms: int) -> PeerStanding:
    heard_ms, _, told = raw.partition("|")
    return PeerStanding(age_s=(now_ms - int(heard_ms)) / 1000, **json.loads(told))


def _double(one: list[Any]) -> Double:
    lesson, own, born_ms, status, learners, other, other_born_ms = one
    known = None if learners < 0 else int(learners)
    return Double(lesson, Twin(own, int(born_ms)), status, known, Twin(other, int(other_born_ms)))
