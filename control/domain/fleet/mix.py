"""The cheapest mix of pools that is enough, as an integer programme solved by HiGHS.

For each pool p, n nodes serve, l of them launched for it; slots s, price c in $ an hour, launch
what a launch costs in hours:

    least  sum c (n + launch l) + usd_spot live_spot + dear shortages
    s.t.   sum s n                >= need
           sum s n without pool q >= keep                  for every q: any one pool may vanish
           sum s n of spot        <= spot_share sum s n
           live_spot              >= expected - sum s n of on-demand
           least nodes            <= sum n,  sum l <= room,  busy <= n <= open + l

Every bound but the launches' gives way at a price, so that there is always an answer: what cannot
be had is told as a shortage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

_SHORT_USD, _UNSAFE_USD, _UNBALANCED_USD, _FEW_USD = 100.0, 5.0, 20.0, 50.0
"""Dollars an hour a slot that is missing, missing with a pool gone, or spot beyond its share; and
a node under the least. Dearer than any machine, in this order of what gives way last."""
_ENOUGH = 1e-6
_GAP = 0.01
"""A mix this near the cheapest is taken."""


_HEURISTICS = (
    "feasibility_jump", "rens", "rins", "root_reduced_cost", "shifting", "zi_round",
)  # fmt: skip
_QUICKER: Mapping[str, Any] = {
    "threads": 1, "parallel": "off", "presolve": "off",
    "mip_detect_symmetry": False, "mip_heuristic_effort": 0.0,
    **{f"mip_heuristic_run_{name}": False for name in _HEURISTICS},
}  # fmt: skip
"""Programmes of this size end at their first node; what else a solver does costs half its time."""


@dataclass(frozen=True)
class PoolAsk:
    """One pool as the programme sees it."""

    name: str
    spot: bool
    slots: int
    price_usd_h: float
    launch_h: float
    """What a launch costs, in hours of the node: its boot, its end, and against flapping."""
    open: int
    """Nodes that are there and may serve: ready, booting, or closed and to be had back."""
    busy: int
    """Of these, those that stay whatever is decided: lessons live on them, or they still boot."""
    launchable: int
    """Most that may be launched; 0 where it is banned."""


@dataclass(frozen=True)
class MixAsk:
    """``need`` slots must be there; ``expected`` of them are thought to be live."""

    pools: tuple[PoolAsk, ...]
    need: float
    expected: float
    least_nodes: int
    room: int
    """Launches that the region's greatest number of nodes leaves, those that drain counted."""
    keep: float
    """Slots that must stay when any one pool vanishes."""
    spot_share: float
    spot_live_usd_h: float
    """What it costs to have a session live on spot for an hour."""
    limit_s: float
    """Solver's time."""


@dataclass(frozen=True)
class Mix:
    """Nodes a pool that should serve, and what could not be had."""

    nodes: Mapping[str, int]
    short_slots: float
    unsafe_slots: float
    """Missing to ``keep`` if the largest pool vanished."""
    usd_h: float
    """Of the nodes."""
    proven: bool
    """False: the solver's time ran out, and this is the best that it had."""


@cache
def _highs() -> Any:
    import highspy

    return highspy


@dataclass
class _Rows:
    """Constraints low <= sum coefficient x <= high, row by row."""

    low: list[float]
    high: list[float]
    starts: list[int]
    columns: list[int]
    values: list[float]

    def add(self, low: float, high: float, *terms: tuple[int, float]) -> None:
        self.low.append(low)
        self.high.append(high)
        self.starts.append(len(self.columns))
        for column, value in terms:
            self.columns.append(column)
            self.values.append(value)


class _Unproven(Exception):
    """Raised, not returned: what ran out of time once may have it the next time."""

    def __init__(self, found: Mix | None) -> None:
        super().__init__()
        self.found = found


def solve(ask: MixAsk) -> Mix | None:
    """The mix; None where the solver had nothing in its time: keep what is there."""
    try:
        return _proven(ask)
    except _Unproven as late:
        return late.found


def forget() -> None:
    """What was solved is solved anew."""
    _proven.cache_clear()


@lru_cache(maxsize=4096)
def _proven(ask: MixAsk) -> Mix:
    count = len(ask.pools)
    short, unsafe, unbalanced, few, live = range(2 * count, 2 * count + 5)
    costs = [one.price_usd_h for one in ask.pools]
    costs += [one.price_usd_h * one.launch_h for one in ask.pools]
    costs += [_SHORT_USD, _UNSAFE_USD, _UNBALANCED_USD, _FEW_USD, ask.spot_live_usd_h]
    upper = [float(one.open + one.launchable) for one in ask.pools]
    upper += [float(one.launchable) for one in ask.pools]
    endless = _highs().kHighsInf
    upper += [endless] * 5
    rows = _rows(ask, endless, short, unsafe, unbalanced, few, live)
    lower = [float(one.busy) for one in ask.pools] + [0.0] * (count + 5)
    model = _model(costs, lower, upper, count, rows)
    solver = _solver()
    solver.setOptionValue("time_limit", ask.limit_s)
    solver.passModel(model)
    solver.run()
    found = solver.getInfo()
    if found.primal_solution_status != _highs().SolutionStatus.kSolutionStatusFeasible:
        raise _Unproven(None)
    values = solver.getSolution().col_value
    nodes = {one.name: round(values[i]) for i, one in enumerate(ask.pools)}
    proven = solver.getModelStatus() == _highs().HighsModelStatus.kOptimal
    usd_h = sum(one.price_usd_h * nodes[one.name] for one in ask.pools)
    mix = Mix(nodes, _left(values[short]), _left(values[unsafe]), usd_h, proven)
    if not proven:
        raise _Unproven(mix)
    return mix


def _left(value: float) -> float:
    return round(value, 3) if value > _ENOUGH else 0.0


def _rows(
    ask: MixAsk, endless: float, short: int, unsafe: int, unbalanced: int, few: int, live: int
) -> _Rows:
    pools = list(enumerate(ask.pools))
    count = len(pools)
    rows = _Rows([], [], [], [], [])
    rows.add(ask.need, endless, *((i, one.slots) for i, one in pools), (short, 1.0))
    for lost in range(count):
        rest = ((i, float(one.slots)) for i, one in pools if i != lost)
        rows.add(ask.keep, endless, *rest, (unsafe, 1.0))
    shares = ((i, one.slots * (float(one.spot) - ask.spot_share)) for i, one in pools)
    rows.add(-endless, 0.0, *shares, (unbalanced, -1.0))
    rows.add(
        ask.expected, endless, *((i, one.slots) for i, one in pools if not one.spot), (live, 1.0)
    )
    rows.add(ask.least_nodes, endless, *((i, 1.0) for i, _ in pools), (few, 1.0))
    rows.add(-endless, ask.room, *((count + i, 1.0) for i, _ in pools))
    for i, one in pools:
        rows.add(-endless, one.open, (i, 1.0), (count + i, -1.0))
    return rows


@cache
def _solver() -> Any:
    solver = _highs().Highs()
    solver.silent()
    for name, value in _QUICKER.items():
        solver.setOptionValue(name, value)
    solver.setOptionValue("mip_rel_gap", _GAP)
    return solver


def _model(
    costs: list[float], lower: list[float], upper: list[float], whole: int, rows: _Rows
) -> Any:
    """``whole``: the first so many columns are integers; launches are, where the nodes are."""
    highs = _highs()
    lp = highs.HighsLp()
    lp.num_col_, lp.num_row_ = len(costs), len(rows.low)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = costs, lower, upper
    lp.row_lower_, lp.row_upper_ = rows.low, rows.high
    lp.a_matrix_.format_ = highs.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = [*rows.starts, len(rows.columns)]
    lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.columns, rows.values
    integer, real = highs.HighsVarType.kInteger, highs.HighsVarType.kContinuous
    lp.integrality_ = [integer] * whole + [real] * (len(costs) - whole)
    return lp
