"""How long the deployer itself takes between two things it tells, three cells at once.

Run as ``python -m tests.deploy_overhead RUNS``; prints ``{"longest_s": S, "told": N}``, the longest
of all runs. The account answers at once, and nothing waits between two looks.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

from ops.deploy.progress import Line
from tests.deploy_parts import Run, account


class Watch:
    """When each thread told something."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int]] = []

    def __call__(self, _: Line) -> None:
        self.told.append((time.perf_counter(), threading.get_ident()))

    def longest_s(self) -> float:
        """Of one thread; while others tell something in between, the main thread only waits."""
        main = threading.main_thread().ident
        longest = 0.0
        for thread in {thread for _, thread in self.told}:
            own = [at for at, (_, who) in enumerate(self.told) if who == thread]
            for first, second in pairwise(own):
                if thread == main and second > first + 1:
                    continue
                longest = max(longest, self.told[second][0] - self.told[first][0])
        return longest


def main(runs: int) -> None:
    """Each run is a first deploy to an empty account, the demo avatar among what is sent."""
    longest_s, told = 0.0, 0
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            watch = Watch()
            if not Run(account(), Path(folder), watch).deploy().ok:
                raise SystemExit("the deploy failed; see tests/unit/test_deploy.py")
            longest_s = max(longest_s, watch.longest_s())
            told = len(watch.told)
    sys.stdout.write(json.dumps({"longest_s": longest_s, "told": told}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
