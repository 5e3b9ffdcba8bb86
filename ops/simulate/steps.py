"""The other shared steps of the store's scripts, as docs/store.md names them."""

from __future__ import annotations

from control.domain import leases
from control.domain.session import OPEN, Session
from ops.simulate.holds import DAY_MS, Holds
from ops.simulate.slots import DEAD_MS, REAP_EVERY_MS
from ops.simulate.state import Kept

FINISHED_MS = int(leases.FINISHED_TTL_S * 1000)
TICKET_MS = int(leases.TICKET_TTL_S * 1000)
HANDED_AT_ONCE = 8
DEAD_AT_ONCE = 5


class Steps(Holds):
    """How sessions begin, wait and end."""

    def _finish(self, session_id: str, status: str, reason: str) -> bool:
        state, now = self.state, self.now_ms()
        self._drop(session_id)
        self._leave(session_id)
        kept = state.sessions.get(session_id)
        if kept is None or not kept.session.is_open:
            return False
        self._set(session_id, status=status, ended_ms=now, reason=reason, own_room_token=None)
        kept.forget_ms = now + FINISHED_MS
        lesson = (kept.session.tenant, kept.session.lesson_id)
        if state.lessons.get(lesson) == session_id:
            del state.lessons[lesson]
        state.open[lesson[0]] -= 1
        of_class = state.classes.get((lesson[0], kept.session.class_id or ""))
        if of_class is not None:
            of_class.open -= 1
        state.starting.pop(session_id, None)
        self._record(session_id)
        self._changed(lesson)
        return True

    def _lose(self, session_id: str, reason: str) -> None:
        if session_id in self.state.held or self.state.status(session_id) == "starting":
            self._drop(session_id)
        else:
            self._finish(session_id, "failed", reason)

    def _hand(self) -> tuple[str, ...]:
        state = self.state
        handed: list[str] = []
        while state.turns and len(handed) < HANDED_AT_ONCE:
            tenant = min(state.turns, key=lambda one: (state.turns[one], one))
            session_id = next(iter(state.queues[tenant]))
            kept = state.sessions[session_id]
            chosen, seen, spare = self._choose_for(
                kept.session.named_class, kept.session.avatar, kept.excluded
            )
            if chosen is None:
                break
            state.turn = state.turns[tenant]
            self._leave(session_id)
            if tenant in state.turns:
                state.turns[tenant] = state.turn + 1.0 / state.weights[tenant]
            self._take(session_id, chosen, seen, spare)
            self._keep_pace()
            handed.append(session_id)
        return tuple(handed)

    def _keep_pace(self) -> None:
        state, now = self.state, self.now_ms()
        if state.pace_at is not None:
            took = float(now - state.pace_at)
            state.pace_ms = took if state.pace_ms is None else 0.8 * state.pace_ms + 0.2 * took
        state.pace_at = now

    def _enqueue(self, session_id: str, tenant: str, weight: float) -> None:
        state = self.state
        if tenant not in state.turns:
            state.turns[tenant] = state.turn
        queue = {**state.queues.get(tenant, {}), session_id: state.born[session_id]}
        state.queues[tenant] = dict(sorted(queue.items(), key=lambda one: one[1]))
        state.weights[tenant] = weight
        state.tickets[session_id] = self.now_ms() + TICKET_MS

    def _leave(self, session_id: str) -> None:
        state = self.state
        if state.tickets.pop(session_id, None) is None:
            return
        tenant = state.sessions[session_id].session.tenant
        state.queues[tenant].pop(session_id)
        if not state.queues[tenant]:
            del state.queues[tenant], state.turns[tenant]

    def _reap_a_little(self) -> None:
        """By what others ask: some of it, now and then."""
        state, now = self.state, self.now_ms()
        if 0 <= now - state.reaped < REAP_EVERY_MS:
            return
        state.reaped = now
        self._reap(20)

    def _reap(self, limit: int) -> None:
        for session_id in self._due(self.state.tickets, limit):
            self._finish(session_id, "failed", "Nobody asked for its place any more.")
        for session_id in self._due(self.state.exp, limit):
            self._lose(session_id, "Its lease ran out.")
        if not self._forgiving(spoke=False):
            self._reap_workers()

    def _reap_workers(self) -> None:
        state, since = self.state, self.now_ms() - DEAD_MS
        silent = sorted((heard, name) for name, heard in state.hb.items() if heard <= since)
        for _, name in silent[:DEAD_AT_ONCE]:
            for session_id in list(state.on.get(name, ())):
                self._lose(session_id, "Its worker stopped answering.")
            del state.hb[name]
            state.free.pop(name, None)

    def _due(self, deadlines: dict[str, int], limit: int) -> list[str]:
        now = self.now_ms()
        past = sorted((at, session_id) for session_id, at in deadlines.items() if at <= now)
        return [session_id for _, session_id in past[:limit]]

    def _changed(self, lesson: tuple[str, str]) -> None:
        self.state.seq += 1
        self.state.changes[lesson] = self.state.seq

    def _keep(self, session: Session, distance: float, waits: float | None = None) -> None:
        """A new session: counted, listed by birth, known to peers."""
        state, sid = self.state, session.session_id
        state.sessions[sid] = Kept(session, distance, waits, first_execution=session.execution)
        state.births += 1
        state.born[sid] = state.births
        state.open[session.tenant] = state.open.get(session.tenant, 0) + 1
        if session.named_class is not None:
            of_class = self._know(session.named_class)
            of_class.came += 1
            of_class.open += 1
        self._changed((session.tenant, session.lesson_id))

    def _forget(self) -> None:
        """What a store does by itself with keys whose time is over."""
        now = self.now_ms()
        gone = [
            sid
            for sid, kept in self.state.sessions.items()
            if kept.forget_ms is not None and kept.forget_ms <= now
        ]
        for sid in gone:
            del self.state.sessions[sid], self.state.born[sid]
        old = [named for named, one in self.state.classes.items() if one.at <= now - DAY_MS]
        for named in old:
            del self.state.classes[named]

    def _is_open(self, session_id: str) -> bool:
        return (self.state.status(session_id) or "") in OPEN
