"""Brings one stack to what its template says, and tells every event on the way."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace

from ops.deploy.events import NESTED, Events
from ops.deploy.facts import ChangeSet, Event, Stack, Submission
from ops.deploy.pace import Pace
from ops.deploy.ports import Stacks
from ops.deploy.progress import Tell, step
from ops.deploy.states import Move, first_failure, next_move, remedy, succeeded

_STARTS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
_STARTING_POLLS = 30  # CloudFormation may show the old state for a moment after a start


class StackFailed(Exception):
    """A stack is not what was asked for; says which resource failed first, why, and the remedy."""

    def __init__(self, stack: str, reason: str, remedy: str) -> None:
        self.stack = stack
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{stack}: {reason}; {remedy}")


class Driver:
    """The stacks of one region."""

    def __init__(self, region: str, stacks: Stacks, tell: Tell, pace: Pace) -> None:
        self._region = region
        self._stacks = stacks
        self._tell = tell
        self._pace = pace

    def bring(self, asked: Submission) -> tuple[Stack, bool]:
        """Creates or updates the stack: as it stands then, and whether anything changed.

        Raises:
            StackFailed: it rolled back, or is in a state that a person has to look at.
            Stopped, CloudError: run it again to go on.
        """
        while True:
            self._pace.go_on()
            stack = self._stacks.find(asked.stack)
            move = next_move(stack)
            if move is Move.CREATE:
                return self._apply(asked, None)
            assert stack is not None
            if move is Move.UPDATE:
                return self._apply(asked, stack)
            if move is Move.REFUSE:
                raise self._failed(stack)
            if move is Move.REPLACE:
                self._say(asked.stack, "REMOVING", f"it is {stack.status}: it is made anew")
                self._delete(stack)
            else:
                self._say(asked.stack, "JOINING", f"{stack.status} is under way already")
                self._settled(stack)

    def remove(self, name: str) -> bool:
        """Deletes the stack, once what is under way has ended; False where there is none.

        Raises StackFailed, Stopped, CloudError.
        """
        stack = self._stacks.find(name)
        if stack is None:
            return False
        while stack is not None and next_move(stack) is Move.JOIN:
            stack = self._settled(stack)
        if stack is not None and stack.status != "DELETE_COMPLETE":
            self._delete(stack)
        return True

    def _delete(self, stack: Stack) -> None:
        before = self._start_of(stack)
        self._stacks.delete(stack.id)
        gone = self._settled(stack, before, starting=True)
        if gone is not None and gone.status != "DELETE_COMPLETE":
            raise self._failed(gone)

    def _apply(self, asked: Submission, stack: Stack | None) -> tuple[Stack, bool]:
        has = stack.parameters if stack else {}
        asked = replace(
            asked,
            parameters={k: v for k, v in asked.parameters.items() if v is not None or k in has},
        )
        name = f"rapido-{uuid.uuid4().hex[:12]}"
        self._stacks.propose(name, asked, create=stack is None, nested=False)
        proposal = self.settled_proposal(asked.stack, name)
        if proposal.status != "CREATE_COMPLETE":
            self._stacks.discard(asked.stack, name)
            if stack is not None and is_empty(proposal):
                self._say(asked.stack, "UNCHANGED", "nothing to change")
                return stack, False
            raise StackFailed(asked.stack, proposal.reason, "correct that and deploy again")
        before = self._start_of(stack) if stack else None
        self._stacks.execute(asked.stack, name)
        begun = stack or self._stacks.find(asked.stack)
        assert begun is not None
        events = Events(self._region, self._stacks, self._tell)
        ended = self._settled(begun, before, starting=True, events=events)
        if ended is None or not succeeded(ended.status):
            raise self._failed(ended or begun)
        # a change set names every nested stack, whether anything in it changes or not
        return ended, any(event.kind != NESTED for event in events.seen)

    def settled_proposal(self, stack: str, change_set: str) -> ChangeSet:
        """The change set, once CloudFormation has worked it out."""
        while True:
            proposal = self._stacks.proposed(stack, change_set)
            if not proposal.status.endswith(("_PENDING", "_IN_PROGRESS")):
                return proposal
            self._pace.wait()

    def _settled(
        self,
        stack: Stack,
        before: Event | None = None,
        *,
        starting: bool = False,
        events: Events | None = None,
    ) -> Stack | None:
        """Waits for the end of what is under way, and tells its events.

        ``before`` is how the operation before it began, where this one was started just now.
        """
        events = events or Events(self._region, self._stacks, self._tell)
        start: Event | None = None
        for polls in itertools.count(1):
            now = self._stacks.find(stack.id)
            if start is None:
                found = self._start_of(stack)
                start = found if found and (before is None or found.id != before.id) else None
            if start is not None:
                events.tell_new(stack.id, start.at)
            gone = now is None or now.status == "DELETE_COMPLETE"
            early = starting and polls < _STARTING_POLLS and not events.told_an_end(stack.id)
            if gone or (not early and next_move(now) is not Move.JOIN):
                return now
            self._pace.wait()
        raise AssertionError("unreachable")

    def _start_of(self, stack: Stack) -> Event | None:
        """How the last operation on the stack began."""
        own = [e for e in self._stacks.events(stack.id, None) if e.physical_id == stack.id]
        return next((e for e in reversed(own) if e.status in _STARTS), None)

    def _failed(self, stack: Stack) -> StackFailed:
        start = self._start_of(stack)
        events = Events(self._region, self._stacks, lambda _: None)
        events.tell_new(stack.id, start.at if start else None)
        first = first_failure(events.seen)
        what = f"{first.resource} ({first.kind}): {first.reason}" if first else stack.reason
        if next_move(stack) is Move.REFUSE:
            todo = remedy(stack.status, stack.name, self._region)
        else:
            todo = "it was rolled back; correct that and deploy again"
        return StackFailed(stack.name, f"{stack.status}: {what or 'no reason was given'}", todo)

    def _say(self, stack: str, status: str, reason: str) -> None:
        step(self._tell, self._region, stack, status, reason)


def is_empty(proposal: ChangeSet) -> bool:
    """CloudFormation calls a change set that changes nothing a failed one."""
    words = ("didn't contain changes", "No updates are to be performed")
    return any(word in proposal.reason for word in words)
