"""What was measured of the placement, as figures with their goals and baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ops.bench.failover import Outcome
from ops.bench.memory import Enlisted, Leased
from ops.bench.plot import Line, log_log
from ops.bench.post import Spent
from ops.bench.regret import Regret
from ops.bench.regret_peers import PeersRegret
from ops.bench.speed import PUBLISHED_SALE_SLOTS, Throughput
from ops.cell.valkey_cluster import NODE_TIMEOUT_MS
from ops.figures import Figure

HEARTBEATS_PER_S = 2_000
"""10,000 workers, one every 5 s each."""


@dataclass(frozen=True)
class Sold:
    """Slots that were sold twice, and not at all."""

    oversold: int
    unsold: int


@dataclass(frozen=True)
class Http:
    """The sale's outcome and how many were answered 201; 99th percentiles at the steady rate."""

    sale: Sold
    answered: int
    health_p99_ms: float
    post_p99_ms: float


@dataclass(frozen=True)
class Measured:
    """Medians by number of workers, in seconds, and everything else as its bench gave it."""

    noop_s: float
    place_s: Mapping[int, float]
    finish_s: Mapping[int, float]
    published_s: Mapping[int, float]
    throughput: Throughput
    regret: Regret
    far: PeersRegret
    enlisted: Enlisted
    worker_bytes: tuple[int, float, float]
    """Workers there were, bytes of each, bytes of its facts in them."""
    leased: Leased
    busy: tuple[float, float]
    published_worker_bytes: float
    published_session_bytes: float
    post: Spent
    http: Http
    published_sold: Sold
    failover: Outcome


def figures(m: Measured) -> dict[str, Figure]:
    """All of them, by the names that stay."""
    return _speed(m) | _throughput(m) | _store(m) | _memory(m) | _http(m) | _failover(m)


def curves(m: Measured) -> str:
    """p50 of one placement against the number of workers, as SVG."""

    def ms(seconds: Mapping[int, float]) -> dict[float, float]:
        return {float(workers): s * 1000 for workers, s in seconds.items()}

    return log_log(
        "p50 of one placement",
        "workers",
        "milliseconds",
        [
            Line("published", "#d1495b", ms(m.published_s)),
            Line("this cell", "#2e86ab", ms(m.place_s)),
            Line("no-op script", "#888888", ms(dict.fromkeys(m.place_s, m.noop_s)), "5 4"),
        ],
    )


def _at_most(
    value: float, unit: str, limit: float, baseline: float, note: str, baseline_unit: str = ""
) -> Figure:
    ratio = baseline / value if value and not baseline_unit else None
    if ratio is not None:
        note += "; ratio = baseline ÷ value"
    goal, measured_in = f"≤ {limit:g}", baseline_unit or None
    return Figure(value, unit, goal, value <= limit, baseline, ratio, note, measured_in)


def _at_least(value: float, limit: float, baseline: float, note: str) -> Figure:
    goal, ratio_is = f"≥ {limit:g}", "; ratio = value"
    return Figure(value, "x", goal, value >= limit, baseline, value, note + ratio_is, "pairs/s")


def _untold(value: float, unit: str, note: str) -> Figure:
    return Figure(value, unit, "", None, note=note)  # nothing is asked of it


def _speed(m: Measured) -> dict[str, Figure]:
    few, many = 100, max(m.place_s)
    grows = m.place_s[many] / m.place_s[few]
    place_us, noop_us = m.place_s[many] * 1e6, m.noop_s * 1e6
    return {
        "place_vs_noop_10k": Figure(
            place_us / noop_us, "x", "≤ 3", place_us <= 3.0 * noop_us, noop_us, noop_us / place_us,
            f"p50 of place {place_us:.0f} µs at {many:,} workers; baseline: p50 of EVALSHA of a "
            "script that does nothing, in turn with it; ratio = no-op ÷ place", "µs",
        ),
        "place_10k_vs_100": _at_most(
            grows, "x", 1.3, m.published_s[many] / m.published_s[few],
            f"p50 at {many:,} ÷ at {few} workers; baseline: the published algorithm's",
        ),
        "finish_vs_noop_10k": _untold(m.finish_s[many] / m.noop_s, "x", "p50 of finish ÷ no-op's"),
    }  # fmt: skip


def _throughput(m: Measured) -> dict[str, Figure]:
    rates = m.throughput
    return {
        "throughput_vs_noop_8_clients": _at_least(
            rates.ours / rates.noop, 0.30, rates.noop,
            f"{rates.ours:,.0f} place and finish a second at 10,000 workers ÷ pairs of no-ops",
        ),
        "throughput_vs_published_1k": _at_least(
            rates.ours / rates.published, 100, rates.published,
            "place and finish a second at 10,000 workers ÷ the published algorithm's at 1,000",
        ),
        "store_cpu_us_per_pair": _at_most(
            rates.ours_cpu_us, "µs", 50, rates.noop_cpu_us,
            "the store's processor time, user and system, for place and finish with 8 clients; "
            "baseline: for two no-ops",
        ),
    }  # fmt: skip


def _store(m: Measured) -> dict[str, Figure]:
    return {
        "heartbeat_cpu_percent_10k": _at_most(
            _percent(m.enlisted.heartbeat_us), "%", 5, _percent(m.enlisted.noop_us),
            f"of a core: {m.enlisted.heartbeat_us:.1f} µs a heartbeat that names no session, "
            f"{HEARTBEATS_PER_S:,} a second; baseline: as many no-ops",
        ),
        "heartbeat_busy_cpu_percent_10k": _untold(
            _percent(m.busy[0]), "%",
            f"the same where each heartbeat names {m.busy[1]:.0f} sessions",
        ),
        "regret_local": _at_most(
            m.regret.chosen, "score", 0.001, m.regret.at_random,
            f"mean over {m.regret.placements:,} placements of the best score of all workers minus "
            "the chosen one's; baseline: a free worker at random",
        ),
        "regret_peers": _at_most(
            m.far.mean, "score", 0.01, m.far.nearest,
            f"the same over {m.far.placements:,} placements in three cells whose summaries come a "
            f"second apart and half a round trip late; 99th percentile {m.far.p99:.3f}, "
            f"{m.far.handed:.0%} handed over; baseline: each in its nearest cell",
        ),
    }  # fmt: skip


def _percent(microseconds: float) -> float:
    return microseconds * HEARTBEATS_PER_S / 1e6 * 100


def _memory(m: Measured) -> dict[str, Figure]:
    workers, whole, facts = m.worker_bytes
    leased = m.leased
    return {
        "bytes_per_lease": _at_most(
            leased.lease_bytes, "B", 250, m.published_session_bytes,
            f"growth of the store at {leased.leases:,} live leases, without the session's own "
            f"record with its reasons ({leased.record_bytes:.0f} B) and the lists and the lesson's "
            f"key that find it ({leased.listed_bytes:.0f} B); baseline: the published session",
        ),
        "bytes_per_session": _untold(leased.session_bytes, "B", "all of it, at the same number"),
        "bytes_per_worker": _at_most(
            whole - facts, "B", 250, m.published_worker_bytes,
            f"growth of the store at {workers:,} workers, without what each registered as "
            f"({facts:.0f} B of JSON); baseline: the published worker",
        ),
        "bytes_per_worker_with_facts": _untold(whole, "B", "all of it, at as many"),
    }  # fmt: skip


def _http(m: Measured) -> dict[str, Figure]:
    sold, theirs = m.http.sale, m.published_sold
    slots = f"baseline: the published algorithm with 32 clients on {PUBLISHED_SALE_SLOTS} slots"
    return {
        "post_cpu_us": _at_most(
            m.post.post_us, "µs", 400, m.post.health_us,
            "processor time of the function alone, store and StartExecution answering from "
            "memory; baseline: GET /health",
        ),
        "http_p99_ms_200rps": _at_most(
            m.http.post_p99_ms, "ms", 40, m.http.health_p99_ms,
            "POST sessions from when each was due, one functions process, StartExecution "
            "acknowledged at once; baseline: GET /health at the same rate",
        ),
        "oversold": _at_most(
            sold.oversold, "slots", 0, theirs.oversold,
            f"of 1,000, 32 HTTP clients at once, {m.http.answered} answered 201; {slots}", "slots",
        ),
        "unsold": _at_most(sold.unsold, "slots", 0, theirs.unsold, f"of them; {slots}", "slots"),
    }  # fmt: skip


def _failover(m: Measured) -> dict[str, Figure]:
    after = m.failover
    wrong = after.oversold + after.leaked + after.unleased + after.repeated
    return {
        "failover_s": _at_most(
            after.gap_s, "s", 4, NODE_TIMEOUT_MS / 1000,
            "a cluster's primary killed with -9 → the first placement after it; "
            f"{after.refused} requests were told to try again; baseline: cluster-node-timeout",
        ),
        "failover_wrong": _at_most(
            wrong, "slots", 0, after.placed,
            "a minute later: leases beyond slots, leases nobody runs, runs without a lease, "
            f"generations given twice; {after.adopted} runs had been forgotten and were adopted; "
            "baseline: sessions placed", "sessions",
        ),
    }  # fmt: skip
