"""Regions, nodes and lessons under a scaler, event by event.

Time is in seconds from the Monday that the weeks count from. A launch goes to the zone that has
capacity and is cheapest; where none has, it fails. When a zone's spot is gone, nodes of that pool
there get their notice and are gone two minutes later, with what still lives on them: those lessons
are placed anew. A lesson is placed in its own region, else in another one with a free slot, else it
waits for half a minute and is turned away.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from control.domain.fleet.catalogue import PUBLISHED
from control.domain.fleet.state import Bounds, Plan, Pool
from ops.simulate.fleet.region import Region, SimNode, ZoneOfPool
from ops.simulate.fleet.tally import PATIENCE_S, Tally
from ops.simulate.fleet.weeks import HOUR_S, Lesson, Stretch

TICK_S = 60.0
NOTICE_S = 120.0
BAN_S, BAN_AFTER_NOTICE_S = 600.0, 1800.0
_MOST_TRIES = 4
"""Plans in one tick, after pools that failed."""


class Scaler(Protocol):
    """Decides, every minute, and when a launch failed or a node got its notice."""

    def plan(self, region: Region, now_s: float) -> Plan: ...
    def note(self, region: Region, now_s: float) -> None:
        """Called before each minute's plan: what may be learnt from."""


class World:
    """Runs lessons through regions under one scaler."""

    def __init__(
        self,
        lessons: Sequence[Lesson],
        stretches: Iterable[Stretch],
        bounds: Mapping[str, Bounds],
        peers: Mapping[str, tuple[str, ...]],
        scaler: Scaler,
        judged: tuple[float, float],
        begin_nodes: Mapping[str, int],
    ) -> None:
        self.lessons, self.scaler, self.judged = lessons, scaler, judged
        zones: dict[str, dict[Pool, dict[str, list[Stretch]]]] = {}
        for one in stretches:
            pool = Pool(one.type, one.market)  # type: ignore[arg-type]
            at = zones.setdefault(one.region, {}).setdefault(pool, {})
            at.setdefault(one.zone, []).append(one)
        self.regions = {
            name: Region(
                name,
                bounds[name],
                {p: {z: ZoneOfPool(s) for z, s in by.items()} for p, by in pools.items()},
                peers[name],
            )
            for name, pools in zones.items()
        }
        self.tally = Tally()
        self.serial = 0
        self.events: list[tuple[float, int, str, tuple[object, ...]]] = []
        self.on: dict[int, tuple[Region, SimNode]] = {}
        self.ends_s: dict[int, float] = {}
        self.left_s: dict[int, float] = {}
        """Of lessons that wait to be placed anew: what is left of them."""
        self.asked_s: dict[int, float] = {}
        self.begin_nodes = begin_nodes
        self.now = 0.0

    # ---- the clock ---------------------------------------------------------------------------

    def run(self, begin_s: float, end_s: float) -> Tally:
        """From ``begin_s``; lessons that end after ``end_s`` are followed no further."""
        self.now = begin_s
        for region in self.regions.values():
            self._begin(region)
            for pool, zones in region.zones.items():
                for zone, known in zones.items():
                    if pool.spot:
                        for at in known.gone_at:
                            if begin_s <= at < end_s:
                                self._at(at, "spot gone", region, pool, zone)
        first = bisect_left([one.start_s for one in self.lessons], begin_s)
        coming = iter(range(first, len(self.lessons)))
        following = next(coming, None)
        tick_s = begin_s
        while True:
            arrival_s = self.lessons[following].start_s if following is not None else end_s
            event_s = self.events[0][0] if self.events else end_s
            self.now = min(tick_s, arrival_s, event_s)
            if self.now >= end_s:
                break
            if self.now == event_s:
                _, _, what, about = heapq.heappop(self.events)
                getattr(self, "_" + what.replace(" ", "_"))(*about)
            elif self.now == tick_s:
                for region in self.regions.values():
                    self._tick(region)
                tick_s += TICK_S
            else:
                assert following is not None
                self._arrive(following)
                following = next(coming, None)
        self._settle(end_s)
        return self.tally

    def _at(self, at_s: float, what: str, *about: object) -> None:
        self.serial += 1
        heapq.heappush(self.events, (at_s, self.serial, what, about))

    def _in_judged(self) -> bool:
        return self.judged[0] <= self.now < self.judged[1]

    # ---- lessons -----------------------------------------------------------------------------

    def _arrive(self, serial: int) -> None:
        lesson = self.lessons[serial]
        region = self.regions[lesson.region]
        if self._in_judged():
            self.tally.sessions += 1
        if not self._place(serial, region):
            region.queue.append(serial)
            self.asked_s[serial] = self.now
            self._at(self.now + PATIENCE_S, "give up", serial, region)

    def _place(self, serial: int, region: Region) -> bool:
        for name in (region.name, *region.peers):
            there = self.regions[name]
            node = self._best(there)
            if node is not None:
                if name != region.name and self._in_judged():
                    self.tally.elsewhere += 1
                self._take(serial, there, node)
                return True
        return False

    @staticmethod
    def _best(region: Region) -> SimNode | None:
        """By the order that the planner gave, then as placement scores them."""
        best, points = None, -9.0
        for node in region.nodes.values():
            if node.state == "ready":
                used, slots = len(node.lessons), node.slots
                if used < slots:
                    score = node.order + 0.3 * (1 - used / slots) + min(0.1, (slots - used) / 240)
                    if score > points:
                        best, points = node, score
        return best

    def _take(self, serial: int, region: Region, node: SimNode) -> None:
        lesson = self.lessons[serial]
        moved = serial in self.left_s
        left_s = self.left_s.pop(serial, lesson.duration_s)
        asked_s = self.asked_s.pop(serial, self.now)
        if not moved and self.judged[0] <= asked_s < self.judged[1]:
            self.tally.waits_s.append(self.now - asked_s)
        node.lessons.add(serial)
        self.on[serial] = region, node
        region.live += 1
        if lesson.class_id:
            region.here[lesson.class_id] += 1
        self.ends_s[serial] = self.now + left_s
        self._at(self.ends_s[serial], "lesson over", serial, node)

    def _lesson_over(self, serial: int, node: SimNode) -> None:
        known = self.on.get(serial)
        if known is None or known[1] is not node:
            return
        self._leave(serial)
        if node.state == "ready":
            self._serve(known[0])

    def _leave(self, serial: int) -> None:
        region, node = self.on.pop(serial)
        node.lessons.discard(serial)
        region.live -= 1
        name = self.lessons[serial].class_id
        if name:
            region.here[name] -= 1
            if not region.here[name]:
                del region.here[name]

    def _give_up(self, serial: int, region: Region) -> None:
        if serial not in self.asked_s:
            return
        region.queue.remove(serial)
        asked_s = self.asked_s.pop(serial)
        if self.left_s.pop(serial, None) is not None:
            self.tally.lost += self._in_judged()
        elif self.judged[0] <= asked_s < self.judged[1]:
            self.tally.rejected += 1

    def _serve(self, region: Region) -> None:
        while region.queue:
            node = self._best(region)
            if node is None:
                return
            self._take(region.queue.popleft(), region, node)

    # ---- nodes -------------------------------------------------------------------------------

    def _begin(self, region: Region) -> None:
        """As a deployment begins: so many nodes of the first type, on demand and ready."""
        pool = Pool("g5.xlarge", "on-demand")
        zone = next(iter(region.zones[pool]))
        for _ in range(self.begin_nodes[region.name]):
            node = self._new(region, pool, zone, self.now)
            node.state = "ready"

    def _new(self, region: Region, pool: Pool, zone: str, ready_s: float) -> SimNode:
        region.began += 1
        name = f"{region.name}-{region.began}"
        node = SimNode(name, pool, zone, PUBLISHED[pool.type].slots, self.now, ready_s)
        region.nodes[name] = node
        return node

    def _launch(self, region: Region, pool: Pool) -> bool:
        cheapest = None
        for zone, known in region.zones[pool].items():
            i = known.at(self.now)
            if known.there[i] and (cheapest is None or known.prices[i] < cheapest[0]):
                cheapest = known.prices[i], zone
        if cheapest is None:
            self.tally.failed_launches += 1
            return False
        self.tally.launches += 1
        node = self._new(region, pool, cheapest[1], self.now + PUBLISHED[pool.type].boot_s)
        self._at(node.ready_s, "ready", region, node)
        return True

    def _ready(self, region: Region, node: SimNode) -> None:
        if node.name in region.nodes and node.state == "booting":
            node.state = "ready"
            self._serve(region)

    def _gone(self, region: Region, node: SimNode) -> None:
        """Pays for it; lessons that still live on it are placed anew."""
        if region.nodes.pop(node.name, None) is None:
            return
        self._pay(region, node)
        for serial in sorted(node.lessons):
            lesson = self.lessons[serial]
            self._leave(serial)
            self.tally.interrupted += self._in_judged()
            self.left_s[serial] = self.ends_s[serial] - self.now
            home = self.regions[lesson.region]
            if not self._place(serial, home):
                home.queue.append(serial)
                self.asked_s[serial] = self.now
                self._at(self.now + PATIENCE_S, "give up", serial, home)

    def _pay(self, region: Region, node: SimNode) -> None:
        zone = region.zones[node.pool][node.zone]
        begin, end = (min(max(t, self.judged[0]), self.judged[1]) for t in (node.since_s, self.now))
        if end > begin:
            usd = zone.usd_until(end) - zone.usd_until(begin)
            self.tally.usd += usd
            self.tally.usd_spot += usd if node.pool.spot else 0.0
            self.tally.slot_h += node.slots * (end - begin) / HOUR_S

    def _spot_gone(self, region: Region, pool: Pool, zone: str) -> None:
        hit = [n for n in region.nodes.values() if n.pool == pool and n.zone == zone]
        hit = [n for n in hit if n.state != "leaving"]
        if not hit:
            return
        self.tally.notices += len(hit)
        region.banned[pool.name] = self.now + BAN_AFTER_NOTICE_S
        for node in hit:
            node.state = "leaving"
            self._at(self.now + NOTICE_S, "gone", region, node)
        self._act(region)

    # ---- the scaler --------------------------------------------------------------------------

    def _tick(self, region: Region) -> None:
        self.scaler.note(region, self.now)
        if int(self.now) % 300 == 0:
            self._draw(region)
        if self._in_judged():
            self.tally.live_h += region.live * TICK_S / HOUR_S
        self._act(region)

    def _act(self, region: Region) -> None:
        """As regional_scale_out does: a pool that fails is banned, and it is planned again."""
        for _ in range(_MOST_TRIES):
            decided = self.scaler.plan(region, self.now)
            if self._apply(region, decided):
                return

    def _apply(self, region: Region, decided: Plan) -> bool:
        for name in decided.close:
            region.nodes[name].state = "closed"
        for name in decided.reopen:
            region.nodes[name].state = "ready"
        for name, order in decided.order.items():
            region.nodes[name].order = order
        for name in decided.release:
            node = region.nodes[name]
            self.tally.cut_by_scale_in += len(node.lessons)
            self._gone(region, node)
        every = True
        for pool, count in decided.launch.items():
            found = next(one for one in region.zones if one.name == pool)
            if not all(self._launch(region, found) for _ in range(count)):
                region.banned[pool] = self.now + BAN_S
                every = False
        if len(region.nodes) > region.bounds.most:
            raise AssertionError(f"{region.name} has {len(region.nodes)} nodes at {self.now}")
        if decided.reopen:
            self._serve(region)
        return every

    def _draw(self, region: Region) -> None:
        slots = {"od": 0, "spot": 0, "closed": 0}
        usd_h = 0.0
        for node in region.nodes.values():
            zone = region.zones[node.pool][node.zone]
            usd_h += zone.prices[zone.at(self.now)]
            kind = "closed" if node.state in ("closed", "leaving") else "spot"
            slots["od" if kind == "spot" and not node.pool.spot else kind] += node.slots
        by_kind = slots["od"], slots["spot"], slots["closed"]
        row = self.now, region.live, len(region.queue), *by_kind, usd_h
        self.tally.series[region.name].append(row)

    def _settle(self, end_s: float) -> None:
        self.now = end_s
        for region in self.regions.values():
            for node in region.nodes.values():
                self._pay(region, node)
