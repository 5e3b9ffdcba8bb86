"""What `rapido deploy` itself adds to each step, for ``rapido bench control``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

from ops.cell.files import ROOT
from ops.deploy.sides import POLL_S
from ops.figures import Figure, at_most

LIMIT_S = 2.0


def deploy_step(quick: bool, say: Callable[[str], None]) -> Figure:
    """Seconds a step: the longest of three cells' steps, and what a look at a stack comes late.

    The account is the tests' own, in memory, and answers at once: in a process of its own, for
    what is measured may not import tests.
    """
    say("three cells are deployed to an account in memory")
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy_overhead", "1" if quick else "5"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    figure = at_most(found["longest_s"] + POLL_S, "s", LIMIT_S)
    note = (
        f"the longest between two of {found['told']} events told, and the {POLL_S:g} s that a look "
        "at a stack can come late"
    )
    return replace(figure, note=note)
