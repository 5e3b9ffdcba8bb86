"""What ``rapido simulate faults`` prints."""

from __future__ import annotations

import json
import sys
import time

from rich.console import Console
from rich.table import Table

from ops.simulate.faults import Caught, caught, replay, sums, trials
from ops.simulate.trial import Result


def print_trials(console: Console, seed: int, runs: int, as_json: bool) -> bool:
    """True when every run was good; each bad one is told at once."""
    began, done = time.monotonic(), list[Result]()
    for result in trials(seed, runs):
        done.append(result)
        if result.problems and not as_json:
            console.print(f"seed {result.seed}: {result.problems[0]}", style="red", markup=False)
            console.print(f"  {replay(result.seed)}", markup=False, highlight=False)
    failed = [result for result in done if result.problems]
    took_s = round(time.monotonic() - began, 1)
    if as_json:
        told = [
            {"seed": one.seed, "problem": one.problems[0], "replay": replay(one.seed)}
            for one in failed
        ]
        _write({"runs": runs, "took_s": took_s, "failed": told, "figures": sums(done)})
    else:
        figures = ", ".join(f"{count} {name}" for name, count in sorted(sums(done).items()))
        console.print(f"{runs - len(failed)} of {runs} runs good in {took_s} s: {figures}")
    return not failed


def print_mutants(console: Console, seed: int, runs: int, as_json: bool) -> bool:
    """True when every mutant was caught."""
    found = list(caught(seed, runs))
    if as_json:
        _write({"mutants": [vars(one) for one in found]})
    else:
        console.print(_table(found))
    return all(one.seed is not None for one in found)


def _table(found: list[Caught]) -> Table:
    table = Table("mutant", "what it does", "caught by seed", "how")
    for one in found:
        mark = "[red]none[/red]" if one.seed is None else str(one.seed)
        table.add_row(one.mutant, one.what, mark, one.how)
    return table


def _write(result: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
