"""`rapido deploy` against an account in memory: whole, again, failing and stopped at every step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.deploy.cell import FAULTS
from ops.deploy.deployment import Report
from ops.deploy.events import NESTED
from ops.deploy.facts import CloudError
from ops.deploy.lock import LEASE_S, Locked
from ops.deploy.pace import Pace
from ops.deploy.progress import Line
from ops.deploy.settings import Livekit, Wanted
from tests.deploy_parts import IMAGE, REGIONS, Run, account, wanted
from tests.fake_cloud import FakeCloud, Trip, expired
from tests.unit.small_avatar import write_package


class Killed(BaseException):
    """The process is gone: nothing of it catches this."""


def refused() -> CloudError:
    return CloudError("Throttling", "cloudformation: Throttling: Rate exceeded")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(account(), tmp_path)


def _two_small_cells(folder: Path) -> Wanted:
    face = write_package(folder / "anna")
    return wanted(regions=REGIONS[:2], size="small", avatars=(f"{face}/",))


def _deploy(run: Run, what: Wanted) -> Report | BaseException:
    """What came of it, whatever that is."""
    try:
        return run.deploy(what)
    except (Killed, Locked, *FAULTS) as fault:
        return fault


def _parameters(cloud: FakeCloud, region: str, stack: str) -> dict[str, str]:
    (found,) = [one for where, one in cloud.roots() if where == region and one.name == stack]
    return found.parameters


def test_a_deploy_brings_three_cells_and_the_edge_and_tries_the_address(run: Run) -> None:
    done = run.deploy()

    assert done.ok
    assert done.url == "https://rapido.example.com"
    assert {name for _, name in run.cloud.picture()["stacks"]} == {
        *(f"rapido-{region}" for region in REGIONS),
        *(f"rapido-{region}-artifacts" for region in REGIONS),
        "rapido-prod-edge",
    }
    assert ("GET", "https://rapido.example.com/health/ready") in run.web.asked


def test_each_cell_knows_its_home_its_peers_and_its_bucket(run: Run) -> None:
    run.deploy()

    home = _parameters(run.cloud, "us-east-1", "rapido-us-east-1")
    other = _parameters(run.cloud, "us-west-2", "rapido-us-west-2")
    assert (home["HomeCell"], other["HomeCell"]) == ("", "us-east-1")
    assert other["HomeRegion"] == "us-east-1"
    assert json.loads(other["Peers"]) == [
        {"cell": cell, "region": cell, "url": f"https://{cell}.rapido.example.com"}
        for cell in ("us-east-1", "eu-central-1")
    ]
    bucket = other["AvatarsUri"].removeprefix("s3://").removesuffix("/avatars")
    assert "avatars/demo/manifest.json" in run.cloud.buckets[bucket]


def test_only_the_home_cells_tables_are_made(run: Run) -> None:
    run.deploy()

    assert run.cloud.invoked == [("rapido-us-east-1-AdminFunctionName", {"do": "migrate"})]


def test_the_edges_secret_is_wherever_it_is_read(run: Run) -> None:
    run.deploy(wanted(regions=("eu-central-1", "us-west-2"), home="eu-central-1"))

    kept = run.cloud.secret_store["rapido-prod-edge"]
    assert kept["primary"] == "eu-central-1"
    assert set(kept["in"]) == {"eu-central-1", "us-west-2", "us-east-1"}


def test_another_stage_has_names_of_its_own(run: Run) -> None:
    run.deploy(wanted(stage="staging", size="small", domain="staging.example.com"))

    staged = _parameters(run.cloud, "us-west-2", "rapido-staging-us-west-2")
    assert staged["CellName"] == "staging-us-west-2"
    assert staged["Size"] == "small"
    assert staged["EdgeSecretId"] == "rapido-staging-edge"


def test_the_same_again_changes_nothing_but_looks_into_nested_stacks(run: Run) -> None:
    run.deploy()
    before, made = run.cloud.picture(), _made(run.cloud)

    again = run.deploy()

    assert again.ok
    assert not any(one.changed for one in again.serving.values())
    assert run.cloud.picture() == before
    assert _made(run.cloud) == made


def _made(cloud: FakeCloud) -> int:
    """Events of resources, in all stacks that there are."""
    records = [one for region in REGIONS for one in cloud.stacks(region).records]
    return sum(event.kind != NESTED for one in records for event in one.events)


def test_a_deploy_that_changes_a_nested_stack_alone_says_so(run: Run) -> None:
    run.deploy()
    stores = [one for one in run.cloud.stacks("us-west-2").records if "-Stores-" in one.name]
    stores[0].resources["StoreNodes"].spec = "another"

    again = run.deploy()

    assert {region for region, one in again.serving.items() if one.changed} == {"us-west-2"}


def test_what_is_not_said_again_stays_as_it_was(run: Run) -> None:
    run.deploy(wanted(worker_image=IMAGE, alarm_email="ops@example.com", budget_usd=900))

    run.deploy(wanted(livekit=None, extra={"us-west-2": {"MaxNodes": "7"}}))

    cell = _parameters(run.cloud, "us-west-2", "rapido-us-west-2")
    assert (cell["WorkerImage"], cell["AlarmEmail"]) == (IMAGE, "ops@example.com")
    assert (cell["MonthlyBudgetUsd"], cell["LivekitSecretId"]) == ("900", "rooms")
    assert cell["MaxNodes"] == "7"
    assert _parameters(run.cloud, "us-east-1", "rapido-us-east-1")["MaxNodes"] == "0"


def test_every_event_of_every_region_is_told_once(run: Run) -> None:
    run.deploy()

    for region in REGIONS:
        told = run.told.of(region)
        assert told.count(f"rapido-{region} CREATE_IN_PROGRESS") == 1
        assert told.count(f"rapido-{region} CREATE_COMPLETE") == 1
        assert any("-Network-" in line and "/" in line for line in told), "nested stacks as well"


def test_a_livekit_of_ones_own_comes_before_its_cell(run: Run) -> None:
    run.deploy(wanted(livekit=Livekit({}, "", own=True)))

    cell = _parameters(run.cloud, "us-west-2", "rapido-us-west-2")
    servers = json.loads(cell["LivekitServers"])
    assert [one["region"] for one in servers] == ["us-west-2"]
    assert cell["LivekitSecretId"] == "rapido-us-west-2-livekit-keys"


def test_a_region_that_fails_leaves_the_others_serving(run: Run) -> None:
    stacks = run.cloud.stacks("us-west-2")
    stacks.broken["rapido-us-west-2/Stores", "StoreNodes"] = "no capacity for cache.m7g.large"

    done = run.deploy()

    assert set(done.serving) == {"us-east-1", "eu-central-1"}
    assert done.url == "https://rapido.example.com"
    assert not done.ok
    (fault,) = done.failures
    assert fault.where == "us-west-2"
    assert "StoreNodes (AWS::ElastiCache::ReplicationGroup): no capacity" in fault.reason
    assert "deploy again" in fault.remedy


def test_a_region_that_failed_is_made_anew_by_the_next_deploy(run: Run) -> None:
    stacks = run.cloud.stacks("us-west-2")
    stacks.broken["rapido-us-west-2", "Api"] = "a limit"
    run.deploy()
    stacks.broken.clear()

    again = run.deploy()

    assert again.ok
    assert "rapido-us-west-2 REMOVING" in run.told.of("us-west-2")


def test_an_update_that_fails_leaves_the_cell_as_it_was(run: Run) -> None:
    run.deploy()
    before = run.cloud.picture()["stacks"]["us-west-2", "rapido-us-west-2"]
    run.cloud.stacks("us-west-2").broken["rapido-us-west-2", "ApiFunction"] = "a limit"

    done = run.deploy(wanted(extra={"": {"Tracing": "1"}}))

    after = run.cloud.picture()["stacks"]["us-west-2", "rapido-us-west-2"]
    assert [one.where for one in done.failures] == ["us-west-2"]
    assert (after[1], after[2]) == (before[1], before[2])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
@pytest.mark.parametrize(
    ("fault", "dead"), [(refused, False), (Killed, True)], ids=["refused", "killed"]
)
def test_a_deploy_that_failed_at_any_call_ends_the_same_when_run_again(
    tmp_path: Path, region: str, fault: Callable[[], BaseException], dead: bool
) -> None:
    """Every call of one region, one after the other: refused by AWS, or the last one there was."""
    two = _two_small_cells(tmp_path)
    whole = Run(account(), tmp_path)
    whole.deploy(two)
    goal, calls = whole.cloud.picture(), len(whole.cloud.calls[region])

    for at in range(1, calls + 1):
        run = Run(account(), tmp_path)
        run.cloud.trip = Trip(region, at, fault, dead)
        first = _deploy(run, two)
        what = whole.cloud.calls[region][at - 1]
        served = isinstance(first, Report) and first.ok
        # a lock that could not be given back runs out: nothing else is forgiven
        assert run.cloud.tripped, f"call {at} of {region} was never made"
        assert not served or what == "remove_if", f"{what} ({at}) failed and nobody noticed"
        run.cloud.forget_calls()
        run.cloud.now += LEASE_S + 1  # where the process died, its lock has to run out

        again = _deploy(run, two)

        assert isinstance(again, Report), f"{what} ({at}): {first} then {again}"
        assert again.ok, f"{what} ({at}): {again.failures}"
        assert run.cloud.picture() == goal, f"{what} ({at})"


def test_a_deploy_stopped_at_any_look_ends_the_same_when_run_again(tmp_path: Path) -> None:
    two = _two_small_cells(tmp_path)
    whole = Run(account(), tmp_path)
    counting = CountingPace()
    whole.deploy(two, counting)
    goal = whole.cloud.picture()

    for at in range(1, counting.waits + 1):
        run = Run(account(), tmp_path)
        stopped = run.deploy(two, CountingPace(stop_at=at))
        assert stopped.stopped == "interrupted"
        assert stopped.url is None

        again = run.deploy(two)

        assert again.ok, f"stopped at look {at}: {again.failures}"
        assert run.cloud.picture() == goal, f"stopped at look {at}"


class CountingPace(Pace):
    """Stops at the n-th wait, as Ctrl-C does."""

    def __init__(self, stop_at: int = 0) -> None:
        super().__init__(0.0)
        self.waits = 0
        self._stop_at = stop_at

    def wait(self) -> None:
        self.waits += 1
        if self.waits == self._stop_at:
            self.stop("interrupted")
        super().wait()


def test_a_stack_that_another_run_began_is_joined_and_not_begun_again(run: Run) -> None:
    pace = Pace(0.0)

    def stop(line: Line) -> None:
        if (line.resource, line.status) == ("rapido-us-west-2", "CREATE_IN_PROGRESS"):
            pace.stop("interrupted")

    first = Run(run.cloud, run.folder, told=stop)
    assert first.deploy(pace=pace).stopped == "interrupted"

    assert run.deploy().ok

    assert "rapido-us-west-2 JOINING" in run.told.of("us-west-2")
    (cell,) = [one for _, one in run.cloud.roots() if one.name == "rapido-us-west-2"]
    starts = [
        event
        for event in cell.events
        if event.status == "CREATE_IN_PROGRESS" and event.physical_id == cell.id
    ]
    assert len(starts) == 1


def test_credentials_that_expire_half_way_end_all_regions_in_order(run: Run) -> None:
    run.cloud.trip = Trip("us-west-2", 30, expired)

    done = run.deploy()

    assert "credentials have expired" in done.stopped
    assert done.url is None
    assert any("run the same command" in one.remedy for one in done.failures)
    run.cloud.forget_calls()
    assert run.deploy().ok


def test_two_deploys_at_once_the_second_is_told_who_is_first(run: Run) -> None:
    run.deploy()
    assert "deploying.json" not in _bucket(run.cloud), "the first gave its lock back"
    objects = run.cloud.region("us-east-1").objects
    body = json.dumps({"holder": "ana@desk (process 7)"}).encode()
    objects.write_if(_bucket_name(run.cloud), "deploying.json", body, None)
    run.cloud.now += 60

    with pytest.raises(Locked, match=r"by ana@desk \(process 7\).*free in 120 s"):
        run.deploy()


def test_the_lock_of_a_deploy_that_died_is_taken_once_it_ran_out(run: Run) -> None:
    run.deploy()
    objects = run.cloud.region("us-east-1").objects
    objects.write_if(_bucket_name(run.cloud), "deploying.json", b"{}", None)
    run.cloud.now += LEASE_S + 1

    assert run.deploy().ok


def _bucket_name(cloud: FakeCloud) -> str:
    (found,) = [
        one
        for region, one in cloud.roots()
        if region == "us-east-1" and one.name == "rapido-us-east-1-artifacts"
    ]
    return found.outputs["BucketName"]


def _bucket(cloud: FakeCloud) -> dict[str, object]:
    return dict(cloud.buckets[_bucket_name(cloud)])


def test_a_new_value_of_the_edges_secret_reaches_cells_and_edge(run: Run) -> None:
    run.deploy()
    kept = run.cloud.secret_store["rapido-prod-edge"]
    kept["version"] = "1" * 32

    done = run.deploy()

    assert all(one.changed for one in done.serving.values())
    versions = {one.parameters.get("EdgeSecretVersion") for _, one in run.cloud.roots()}
    assert versions == {"1" * 32, None}, "all that take it, and the buckets' stacks do not"
