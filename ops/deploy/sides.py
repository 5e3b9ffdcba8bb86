"""The other sides of the deployer's commands, and how they are stopped and print."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ops.deploy.pace import Pace
from ops.deploy.ports import Builder, Cloud, Web

POLL_S = 1.0
"""Between two looks at a stack that is under way."""


@dataclass(frozen=True)
class Sides:
    """An account, what builds, HTTPS, and how often they are looked at."""

    cloud: Cloud
    builder: Builder
    web: Web
    poll_s: float = POLL_S

    def pace(self) -> Pace:
        """One for a run, which Ctrl-C ends in order; a second Ctrl-C ends the process."""
        pace = Pace(self.poll_s)

        def stop(*_: object) -> None:
            pace.stop("interrupted")
            signal.signal(signal.SIGINT, signal.default_int_handler)

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        return pace


def sides(given: object) -> Sides:
    """Those that the caller brought, else the real ones. Raises CloudError."""
    if isinstance(given, Sides):
        return given
    from ops.deploy.aws import Aws
    from ops.deploy.here import Https, Make

    return Sides(Aws(), Make(), Https())


def print_json(result: dict[str, Any], as_json: bool) -> None:
    """On standard output, where it was asked for."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2, default=_plain) + "\n")


def _plain(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)
