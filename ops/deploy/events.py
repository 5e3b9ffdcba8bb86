"""What CloudFormation says happens to a stack, and to the stacks nested in it."""

from __future__ import annotations

from datetime import datetime

from ops.deploy.facts import Event
from ops.deploy.ports import Stacks
from ops.deploy.progress import Line, Tell

NESTED = "AWS::CloudFormation::Stack"


class Events:
    """The events of a stack and of the stacks nested in it, each told once."""

    def __init__(self, region: str, stacks: Stacks, tell: Tell) -> None:
        self._region = region
        self._stacks = stacks
        self._tell = tell
        self.seen: list[Event] = []
        self._ids: set[str] = set()
        self._ended: set[str] = set()
        """Nested stacks that are not looked at any more: CloudFormation throttles soon."""

    def told_an_end(self, stack_id: str) -> bool:
        """Whether the stack's own last word was told: its state may be shown a moment late."""
        own = [event for event in self.seen if event.physical_id == stack_id]
        return any(not event.status.endswith("_IN_PROGRESS") for event in own)

    def tell_new(self, root: str, since: datetime | None) -> None:
        """Looks, and tells what is new since then, oldest first. Raises CloudError."""
        followed, at = [root], 0
        fresh: list[Event] = []
        while at < len(followed):
            which = followed[at]
            at += 1
            if which in self._ended:
                continue
            for event in self._stacks.events(which, since):
                if event.kind == NESTED and event.physical_id not in ("", *followed):
                    followed.append(event.physical_id)
                if event.id not in self._ids:
                    self._ids.add(event.id)
                    fresh.append(event)
                if event.physical_id == which != root and event.status.endswith("_COMPLETE"):
                    self._ended.add(which)
        for event in sorted(fresh, key=lambda one: one.at):
            self.seen.append(event)
            named = event.resource if event.stack_id == root else _nested_name(event)
            self._tell(Line(event.at, self._region, named, event.status, event.reason))


def _nested_name(event: Event) -> str:
    """``rapido-us-east-1-Network-1AB2/Vpc``: the nested stack's name before the resource's."""
    stack = event.stack_id.split("/")[1] if "/" in event.stack_id else event.stack_id
    return event.resource if event.resource == stack else f"{stack}/{event.resource}"
