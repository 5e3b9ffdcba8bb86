"""``rapido bench placement``: a real store, its scripts, and the HTTP call in front of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ops.bench import failover, http_load, memory, post, regret, speed
from ops.bench.crowd import LEARNER, Crowd, crowd
from ops.bench.http_cell import start_http_cell
from ops.bench.placement_figures import Http, Measured, Sold, curves, figures
from ops.bench.published import Published
from ops.bench.regret_peers import regret_peers
from ops.bench.stage import SLOTS, Noop, Stage, memory_bytes
from ops.cell.supervisor import Death, Supervisor
from ops.cell.valkey import start_valkey
from ops.figures import Figure, write

WORKERS = (10, 100, 1_000, 10_000)
CLIENTS = 8
SALE_WORKERS, SALE_SLOTS = 50, 20
RATE_PER_S = 200.0
_SEED = 4

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much is measured of everything."""

    turns: int
    published_turns: tuple[int, ...]
    rounds: int
    round_s: float
    fleets: int
    fleet_workers: int
    placements: int
    peer_workers: int
    peer_placements: int
    leases: int
    lease_workers: int
    blocks: int
    health_s: float
    post_s: float


FULL = Size(
    turns=3000, published_turns=(200, 100, 20, 5), rounds=8, round_s=2.0,
    fleets=12, fleet_workers=300, placements=400, peer_workers=40, peer_placements=6000,
    leases=1_000_000, lease_workers=100_000, blocks=25, health_s=20.0, post_s=60.0,
)  # fmt: skip
QUICK = Size(
    turns=400, published_turns=(40, 20, 5, 2), rounds=3, round_s=0.8,
    fleets=3, fleet_workers=80, placements=120, peer_workers=20, peer_placements=900,
    leases=10_000, lease_workers=1_000, blocks=4, health_s=1.5, post_s=5.0,
)  # fmt: skip


def placement(out: Path, quick: bool, say: Say) -> dict[str, Figure]:
    """Choosing a worker and taking its lease: speed, cost, memory, and that no slot is sold twice.

    Raises:
        PartError: the store or the functions did not start.
        BenchError: a call answered what it must not; no figure counts then.
    """
    deaths: list[Death] = []
    with tempfile.TemporaryDirectory() as name, crowd(CLIENTS) as clients:
        folder = Path(name)
        supervisor = Supervisor(folder / "logs", deaths.append)
        try:
            url = start_valkey(supervisor, folder)
            measured = _measure(url, QUICK if quick else FULL, clients, say, supervisor, folder)
        except Exception as error:
            for death in deaths:  # else only the connection that broke would be told
                error.add_note(death.describe())
            raise
        finally:
            supervisor.stop_all()
    found = figures(measured)
    write(out / "placement.json", "placement", found)
    (out / "placement.svg").write_text(curves(measured), encoding="utf-8")
    return found


def _measure(
    url: str, size: Size, clients: Crowd, say: Say, supervisor: Supervisor, folder: Path
) -> Measured:
    say(f"registering {sum(WORKERS):,} workers in {len(WORKERS)} cells of one store")
    Stage(url, "warm-up").enlist(2)
    stages = {workers: Stage(url, f"cell-{workers}") for workers in WORKERS}
    enlisted = memory.enlist(stages[WORKERS[-1]], WORKERS[-1])
    for workers in WORKERS[:-1]:
        stages[workers].enlist(workers)
    big = stages[WORKERS[-1]]
    published, worker_bytes = _load_published(big)

    say(f"place and finish at {', '.join(f'{n:,}' for n in WORKERS)} workers, no-ops in between")
    times = speed.interleaved(stages, Noop(url), size.turns)
    say("the published algorithm at the same")
    turns = dict(zip(WORKERS, size.published_turns, strict=True))
    slow = {n: speed.published_p50_s(published[n], turns[n]) for n in WORKERS}
    session_bytes = _published_session_bytes(published[WORKERS[0]])

    say(f"{CLIENTS} clients at once: no-ops, ours, the published algorithm's")
    rates = speed.throughput(clients, big, "1000", size.rounds, size.round_s)
    twice, never = speed.published_sale(clients, big, http_load.THREADS)
    say(f"{size.fleets} random fleets: the best worker of all, and the chosen one")
    regrets = regret.regret(url, size.fleets, size.fleet_workers, size.placements, _SEED)
    say("three cells that hear of each other late: the best worker of all, and the chosen one")
    far = regret_peers(url, size.peer_workers, size.peer_placements, _SEED)
    say(f"{size.leases:,} live leases on {size.lease_workers:,} workers")
    crowded = Stage(url, "crowded")
    many = memory.enlist(crowded, size.lease_workers)
    leased = memory.lease(crowded, clients, size.leases)
    busy = memory.busy_heartbeat(crowded)
    say("POST in one process, store and workflows answering from memory")
    spent = post.measure(folder, size.blocks)
    http = _http(url, size, clients, say, supervisor, folder)
    say("a cluster of three primaries under load; the cell's is killed with -9")
    survived = failover.run(folder / "cluster")
    return Measured(
        noop_s=median(times[WORKERS[-1]].noop),
        place_s={n: median(took.place) for n, took in times.items()},
        finish_s={n: median(took.finish) for n, took in times.items()},
        published_s=slow,
        throughput=rates,
        regret=regrets,
        far=far,
        enlisted=enlisted,
        worker_bytes=(size.lease_workers, many.worker_bytes, many.facts_bytes),
        leased=leased,
        busy=busy,
        published_worker_bytes=worker_bytes,
        published_session_bytes=session_bytes,
        post=spent,
        http=http,
        published_sold=Sold(twice, never),
        failover=survived,
    )


def _load_published(stage: Stage) -> tuple[dict[int, Published], float]:
    """The same fleets as the published algorithm keeps them; memory of one of its workers."""
    published = {workers: Published(stage.raw, str(workers)) for workers in WORKERS}
    for workers in WORKERS:
        before = memory_bytes(stage.raw)
        published[workers].load(workers, SLOTS)
        grown = memory_bytes(stage.raw) - before
    return published, grown / WORKERS[-1]


def _published_session_bytes(published: Published) -> int:
    session_id = "s-bench-0123456789abcdef"
    published.place(session_id, LEARNER)
    size = published.session_bytes(session_id)
    published.finish(session_id)
    return size


def _http(
    url: str, size: Size, clients: Crowd, say: Say, supervisor: Supervisor, folder: Path
) -> Http:
    say(f"{CLIENTS * http_load.THREADS} HTTP clients buy {SALE_WORKERS * SALE_SLOTS:,} slots")
    cell = start_http_cell(supervisor, folder, url)
    cell.restock(SALE_WORKERS, SALE_SLOTS)
    sale = http_load.sale(clients, cell, SALE_WORKERS, SALE_SLOTS)
    cell.restock(1_000, SLOTS)
    say(f"GET /health at {RATE_PER_S:g}/s for {size.health_s:g} s, then POST for {size.post_s:g} s")
    health_ms = http_load.p99_ms(clients, cell, "health", RATE_PER_S, size.health_s)
    post_ms = http_load.p99_ms(clients, cell, "post", RATE_PER_S, size.post_s)
    return Http(Sold(sale.oversold, sale.unsold), sale.sold, health_ms, post_ms)
