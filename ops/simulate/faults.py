"""``rapido simulate faults``: many seeds, or the mutants that some seed must catch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.simulate.model import ModelStore
from ops.simulate.mutants import MUTANTS
from ops.simulate.trial import Result, Trial


def trials(seed: int, runs: int) -> Iterator[Result]:
    """``runs`` seeds from this one on; each is the same run whenever it is run."""
    for one in range(seed, seed + runs):
        yield Trial(one).run()


def replay(seed: int) -> str:
    """The command that runs a seed again."""
    return f"rapido simulate faults --seed {seed} --runs 1"


def sums(results: Sequence[Result]) -> dict[str, int]:
    """Figures of all runs."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.figures)
    return dict(total)


@dataclass(frozen=True)
class Caught:
    """``seed`` is the first that noticed the mutant and how; None: none did."""

    mutant: str
    what: str
    seed: int | None
    how: str


def caught(seed: int, runs: int, mutants: Sequence[type[ModelStore]] = MUTANTS) -> Iterator[Caught]:
    """Each mutant against seeds from this one on, until one notices."""
    for mutant in mutants:
        what = (mutant.__doc__ or "").split("\n")[0]
        for one in range(seed, seed + runs):
            how = _noticed(one, mutant)
            if how is not None:
                yield Caught(mutant.__name__, what, one, how)
                break
        else:
            yield Caught(mutant.__name__, what, None, f"nothing in {runs} runs")


def _noticed(seed: int, mutant: type[ModelStore]) -> str | None:
    """What goes wrong with the mutant and goes well without it."""
    problems = Trial(seed, mutant).run().problems
    return problems[0] if problems and not Trial(seed).run().problems else None
