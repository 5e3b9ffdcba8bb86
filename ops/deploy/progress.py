"""What is told while it happens: a line an event."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

_STYLES = (("FAILED", "red"), ("ROLLBACK", "red"), ("DELETE", "yellow"), ("COMPLETE", "green"))


@dataclass(frozen=True)
class Line:
    """When, in which region, to what, what happened, why."""

    at: datetime
    region: str
    resource: str
    status: str
    reason: str = ""

    def text(self) -> str:
        """Columns, for people."""
        clock = self.at.astimezone(UTC).strftime("%H:%M:%S")
        return (
            f"{clock}  {self.region:<14} {self.resource:<44} {self.status}  {self.reason}".rstrip()
        )


Tell = Callable[[Line], None]


class Screen:
    """Prints lines of several threads, whole, coloured where a terminal is."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._console = Console(file=sys.stderr if to_stderr else sys.stdout, soft_wrap=True)
        self._one_at_a_time = threading.Lock()

    def __call__(self, line: Line) -> None:
        style = next((style for word, style in _STYLES if word in line.status), "")
        with self._one_at_a_time:
            self._console.print(Text(line.text(), style=style))


def now() -> datetime:
    """UTC."""
    return datetime.now(UTC)


def step(tell: Tell, region: str, what: str, status: str, reason: str = "") -> None:
    """A line about something that is no resource of a stack."""
    tell(Line(now(), region, what, status, reason))
