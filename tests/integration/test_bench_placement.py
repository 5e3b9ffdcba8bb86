"""The placement bench: its baseline is fair, and its file keeps its form. Nothing is timed here."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from control.domain.geography import REGIONS, Point
from ops.bench import post
from ops.bench.failover import Outcome
from ops.bench.memory import Enlisted, Leased
from ops.bench.placement_figures import Http, Measured, Sold, curves, figures
from ops.bench.plot import Line, log_log
from ops.bench.post import Spent
from ops.bench.published import Published
from ops.bench.regret import Regret
from ops.bench.regret_peers import PeersRegret
from ops.bench.speed import Throughput
from ops.bench.stage import plain_client
from ops.figures import write

FIXED_NAMES = {
    "place_vs_noop_10k", "place_10k_vs_100", "throughput_vs_noop_8_clients",
    "throughput_vs_published_1k", "store_cpu_us_per_pair", "regret_local", "regret_peers",
    "heartbeat_cpu_percent_10k", "bytes_per_lease", "bytes_per_worker", "post_cpu_us",
    "http_p99_ms_200rps", "oversold", "unsold", "failover_s", "failover_wrong",
}  # fmt: skip
LEARNER = Point(40.7, -74.0)
GOOD = Measured(
    noop_s=0.0001,
    place_s={10: 0.0002, 100: 0.0002, 1000: 0.0002, 10_000: 0.0002},
    finish_s={10: 0.0001, 100: 0.0001, 1000: 0.0001, 10_000: 0.0001},
    published_s={10: 0.001, 100: 0.01, 1000: 0.1, 10_000: 1.0},
    throughput=Throughput(4000.0, 10_000.0, 20.0, 45.0, 20.0),
    regret=Regret(0.0, 0.1, 100),
    far=PeersRegret(0.005, 0.06, 0.05, 0.1, 100),
    enlisted=Enlisted(400.0, 200.0, 20.0, 10.0),
    worker_bytes=(1000, 400.0, 200.0),
    leased=Leased(1000, 200.0, 2000.0, 300.0),
    busy=(50.0, 10.0),
    published_worker_bytes=300.0,
    published_session_bytes=150.0,
    post=Spent(300.0, 60.0),
    http=Http(Sold(0, 0), 1000, 5.0, 20.0),
    published_sold=Sold(20, 0),
    failover=Outcome(1.4, 3000, 80, 0, 0, 0, 0, 1),
)


@pytest.fixture
def published(valkey_url: str) -> Published:
    return Published(plain_client(valkey_url), secrets.token_hex(4))


def test_the_published_algorithm_alone_sells_every_slot_once(published: Published) -> None:
    published.load(5, 2)

    sold = [published.place(f"s-{number}", LEARNER) for number in range(12)]

    assert sold[10:] == [None, None]
    assert sorted(one for one in sold if one) == sorted(f"w{n:06d}" for n in range(5) for _ in "ab")
    assert published.unsold() == 0


def test_the_published_algorithm_gives_slots_back_and_finds_its_sessions(
    published: Published,
) -> None:
    published.load(1, 1)
    first = published.place("a", LEARNER)

    again = published.place("a", LEARNER)
    published.finish("a")

    assert first == again == "w000000"
    assert published.unsold() == 1
    assert published.place("b", LEARNER) == "w000000"


def test_the_published_algorithm_goes_to_the_nearest_of_equal_workers(
    published: Published,
) -> None:
    published.load(len(REGIONS), 4)

    worker = published.place("a", REGIONS["eu-central-1"])

    assert worker == f"w{list(REGIONS).index('eu-central-1'):06d}"


def test_the_file_has_the_names_that_stay_each_with_all_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "placement.json"

    write(path, "placement", figures(GOOD))

    report = json.loads(path.read_text())
    assert report["bench"] == "placement"
    assert set(report["figures"]) >= FIXED_NAMES
    fields = {"value", "unit", "goal", "holds", "baseline", "ratio", "note"}
    for name in FIXED_NAMES:
        assert set(report["figures"][name]) >= fields
        assert report["figures"][name]["holds"] is True
        assert report["figures"][name]["baseline"] is not None


def test_a_slot_that_was_sold_twice_or_not_at_all_misses_its_goal() -> None:
    bad = replace(GOOD, http=replace(GOOD.http, sale=Sold(1, 1)))

    found = figures(bad)

    assert (found["oversold"].holds, found["unsold"].holds) == (False, False)


def test_a_slow_placement_misses_its_goals() -> None:
    bad = replace(GOOD, place_s=GOOD.place_s | {10_000: 0.001})

    found = figures(bad)

    assert found["place_vs_noop_10k"].value == pytest.approx(10.0)
    assert found["place_vs_noop_10k"].holds is False
    assert found["place_10k_vs_100"].holds is False


def test_the_plot_shows_each_curve_by_name() -> None:
    drawn = ElementTree.fromstring(curves(GOOD))

    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"published", "this cell", "no-op script", "10,000"} <= set(texts)
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 3


def test_equal_steps_on_a_logarithmic_plot_are_equal_factors() -> None:
    drawn = ElementTree.fromstring(
        log_log("t", "x", "y", [Line("a", "#000", {10: 1.0, 100: 10.0, 1000: 100.0})])
    )

    spots = list(drawn.iter("{http://www.w3.org/2000/svg}circle"))
    xs = [float(one.attrib["cx"]) for one in spots]
    ys = [float(one.attrib["cy"]) for one in spots]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1])


def test_a_post_is_served_in_one_process_with_nothing_else(tmp_path: Path) -> None:
    spent = post.measure(tmp_path, 1)

    assert spent.post_us > 0
