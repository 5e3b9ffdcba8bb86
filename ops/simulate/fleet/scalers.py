"""What decides in a simulated week: the shipped planner, and what it is held against."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from time import perf_counter

from control.domain.fleet import forecast, planning, published
from control.domain.fleet.forecast import Now, Profile
from control.domain.fleet.state import Fleet, Node, Plan, Pool
from control.domain.fleet.timetable import Attendance, Attendances, PlannedClass, hour_of
from ops.simulate.fleet.concurrency import SAMPLE_S, at_once
from ops.simulate.fleet.region import Region
from ops.simulate.fleet.weeks import HOUR_S, Announced, Lesson

MONDAY_S = 4 * 86_400.0
"""A Monday 00:00 UTC in Unix time, which the weeks' clock begins at."""
_BINS = 7
_LONGEST_S = 2 * HOUR_S
_ATTENDED_AFTER_S = 1200.0


class Planner:
    """The shipped planner, with what the cell would know: its own past, and the timetable."""

    def __init__(
        self,
        policy: planning.Policy,
        profiles: Mapping[str, Profile | None],
        classes: Mapping[str, Sequence[Announced]],
        attendances: Attendances | None = None,
    ) -> None:
        self.policy, self.profiles = policy, profiles
        self.classes = {
            region: [as_planned(one) for one in known] for region, known in classes.items()
        }
        self.starts = {r: [c.start_s for c in known] for r, known in self.classes.items()}
        self.attendances = attendances or Attendances()
        self.came: dict[str, int] = {}
        self.judged_until = dict.fromkeys(self.classes, 0)
        self.bin_most: dict[str, float] = defaultdict(float)
        self.bin_no: dict[str, int] = {}
        self.last_other: dict[str, float | None] = defaultdict(lambda: None)
        self.plan_s: list[float] = []

    def note(self, region: Region, now_s: float) -> None:
        """The last bin's greatest demand that nobody announced; who came of each class."""
        at_s = MONDAY_S + now_s
        near = self._near(region.name, at_s)
        known = {one.class_id for one in near}
        other = region.live + len(region.queue)
        other -= sum(n for name, n in region.here.items() if name in known)
        here = forecast.bin_of(at_s)
        if self.bin_no.get(region.name) != here:
            if region.name in self.bin_no:
                self.last_other[region.name] = self.bin_most[region.name]
            self.bin_no[region.name] = here
            self.bin_most[region.name] = other
        self.bin_most[region.name] = max(self.bin_most[region.name], other)
        self._attend(region, at_s, near)

    def _attend(self, region: Region, at_s: float, near: Sequence[PlannedClass]) -> None:
        learnt = dict(self.attendances.known)
        for one in near:
            n = region.here.get(one.class_id, 0)
            if one.start_s - HOUR_S < at_s <= one.start_s + _ATTENDED_AFTER_S:
                self.came[one.class_id] = max(self.came.get(one.class_id, 0), n)
            elif at_s > one.start_s and one.class_id in self.came:
                key = one.tenant, hour_of(one.start_s)
                before = learnt.get(key, Attendance())
                learnt[key] = before.learn(one.expected, self.came.pop(one.class_id))
                self.attendances = Attendances(learnt)

    def _near(self, region: str, at_s: float) -> list[PlannedClass]:
        """Those that may run by then or soon, and are announced."""
        starts, known = self.starts[region], self.classes[region]
        first = bisect_left(starts, at_s - _LONGEST_S)
        last = bisect_left(starts, at_s + _BINS * forecast.BIN_S + forecast.EARLY_S)
        return [one for one in known[first:last] if one.known_s <= at_s]

    def plan(self, region: Region, now_s: float) -> Plan:
        """As the cell's tick does."""
        begun = perf_counter()
        at_s = MONDAY_S + now_s
        waiting = len(region.queue)
        here = {("", name): n for name, n in region.here.items()}
        now = Now(at_s, region.live + waiting, here, self.last_other[region.name])
        seen = forecast.outlook(
            self.profiles[region.name], now, self._near(region.name, at_s), self.attendances, _BINS
        )
        fleet = Fleet(
            region.name,
            at_s,
            region.seen(now_s),
            region.offers(now_s),
            region.bounds,
            region.live,
            waiting,
            {pool: MONDAY_S + until for pool, until in region.banned.items()},
        )
        decided = planning.plan(fleet, seen, self.policy)
        self.plan_s.append(perf_counter() - begun)
        return decided


class Buffer:
    """A share of the slots is kept free, of one type on demand: what most fleets do."""

    def __init__(self, type_name: str, free_share: float) -> None:
        self.pool, self.free_share = Pool(type_name, "on-demand"), free_share

    def note(self, region: Region, now_s: float) -> None:
        """Learns nothing."""

    def plan(self, region: Region, now_s: float) -> Plan:
        """Nodes for the live ones and the buffer; what is too many closes, and goes when empty."""
        seen = region.seen(now_s)
        slots = next(o.slots for o in region.offers(now_s) if o.pool == self.pool)
        wanted_slots = (region.live + len(region.queue)) / (1 - self.free_share)
        return resize(region, seen, self.pool, math.ceil(wanted_slots / slots), now_s)


class Published:
    """Target tracking at 70 % of CPU, CPU being the share of slots used; g5.xlarge on demand."""

    def __init__(self, cpu_of_full: float = 1.0) -> None:
        self.pool, self.cpu_of_full = published.POOL, cpu_of_full

    def note(self, region: Region, now_s: float) -> None:
        """Learns nothing."""

    def plan(self, region: Region, now_s: float) -> Plan:
        """As target tracking does: nodes in proportion to the metric over its target."""
        seen = region.seen(now_s)
        serving = [one for one in seen if one.state in ("ready", "booting")]
        slots = sum(one.slots for one in serving)
        cpu = self.cpu_of_full * min(1.0, sum(one.used for one in serving) / max(1, slots))
        wanted = published.wanted(len(serving), cpu) if serving else 1
        return resize(region, seen, self.pool, wanted, now_s)


def as_planned(one: Announced) -> PlannedClass:
    """As the cell's timetable has it."""
    start_s, known_s = MONDAY_S + one.start_s, MONDAY_S + one.known_at_s
    return PlannedClass("", one.class_id, start_s, one.duration_s, one.expected, known_s)


def resize(region: Region, seen: Sequence[Node], pool: Pool, wanted: int, now_s: float) -> Plan:
    """To so many nodes of one pool, within bounds, never cutting a lesson."""
    serving = [one for one in seen if one.state in ("ready", "booting")]
    closed = sorted((n for n in seen if n.state == "closed"), key=lambda n: -n.used)
    wanted = max(region.bounds.least, wanted)
    missing = wanted - len(serving)
    reopen = closed[: max(0, missing)]
    room = region.bounds.most - len(seen)
    banned = region.banned.get(pool.name, 0.0) > now_s
    launch = 0 if banned else max(0, min(room, missing - len(reopen)))
    emptiest = sorted((n for n in serving if n.state == "ready"), key=lambda n: n.used)
    close = emptiest[: max(0, -missing)]
    packing = missing < 0
    gone = [n for n in (*closed, *close) if n not in reopen and n.used == 0]
    return Plan(
        {pool.name: launch} if launch else {},
        tuple(n.node_id for n in close),
        tuple(n.node_id for n in reopen),
        tuple(n.node_id for n in gone),
        (),
        {n.node_id: (0.8 * n.used / n.slots if packing else 0.0) for n in serving},
        {},
    )


def history(
    lessons: Sequence[Lesson], classes: Sequence[Announced], region: str, until_s: float
) -> list[float]:
    """The greatest number of sessions that nobody announced, a bin each from second 0 on."""
    known = {one.class_id for one in classes}
    mine = (one for one in lessons if one.region == region and one.class_id not in known)
    each = int(forecast.BIN_S / SAMPLE_S)
    most = at_once(mine, 0.0, until_s).reshape(-1, each).max(axis=1)
    return [float(value) for value in most]
