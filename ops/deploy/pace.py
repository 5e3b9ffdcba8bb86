"""How often the deployer looks, and how it is stopped."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """The run was stopped; what CloudFormation does goes on, and is joined next time."""


class Pace:
    """Shared by all threads of a run."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self.why = ""

    def stop(self, why: str) -> None:
        """Ends the run as soon as the calls under way have answered; the first reason stays."""
        if not self._stopping.is_set():
            self.why = why
            self._stopping.set()

    def go_on(self) -> None:
        """Raises Stopped once the run is to end."""
        if self._stopping.is_set():
            raise Stopped(self.why)

    def wait(self) -> None:
        """Until the next look. Raises Stopped, at once."""
        if self._stopping.wait(self._poll_s):
            raise Stopped(self.why)
