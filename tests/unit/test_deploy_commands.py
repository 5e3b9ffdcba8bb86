"""`rapido deploy`, `plan`, `status`, `destroy`, `key`: what an operator sees, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.deploy.facts import Group, Instance, Leftover
from ops.deploy.sides import Sides
from tests.deploy_parts import IMAGE, REGIONS, Run, account, wanted
from tests.fake_cloud import Trip, expired
from tests.unit.test_deploy_bad_input import _leave

LIVEKIT = ("--livekit", "wss://rooms.example.com", "--livekit-secret", "rooms")
DOMAIN = ("--domain", "rapido.example.com")
Command = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(account(), tmp_path)


@pytest.fixture
def rapido(run: Run) -> Command:
    def call(*arguments: str, typed: str | None = None) -> Result:
        sides = Sides(run.cloud, run.builder, run.web, poll_s=0.0)
        wide = {"COLUMNS": "200"}
        return CliRunner().invoke(app, list(arguments), obj=sides, input=typed, env=wide)

    return call


def test_deploy_shows_each_event_and_prints_the_address(rapido: Command) -> None:
    done = rapido("deploy", *DOMAIN, *LIVEKIT, "--yes")

    assert done.exit_code == 0, done.output
    assert "account 123456789012" in done.stdout
    assert "nothing is missing" in done.stdout
    assert "CREATE_COMPLETE" in done.stdout
    assert "https://rapido.example.com\n" in done.stdout
    assert "rapido key create" in done.stdout


def test_deploy_asks_before_it_begins(rapido: Command, run: Run) -> None:
    done = rapido("deploy", *DOMAIN, *LIVEKIT, typed="n\n")

    assert done.exit_code == 1
    assert run.cloud.roots() == []


def test_a_dry_run_says_what_would_be_done_and_does_nothing(rapido: Command, run: Run) -> None:
    done = rapido("deploy", *DOMAIN, *LIVEKIT, "--dry-run")

    assert done.exit_code == 0
    assert "1. build the functions' package, once" in done.stdout
    assert "us-west-2: bucket and image repository, package, avatars demo" in done.stdout
    assert run.cloud.roots() == []
    assert not any(call in calls for calls in run.cloud.calls.values() for call in _WRITES)


_WRITES = ("propose", "execute", "delete", "put_file", "write_if", "create_secret", "invoke")


def test_what_is_missing_is_listed_whole_and_nothing_is_begun(rapido: Command, run: Run) -> None:
    run.cloud.hosted = []
    run.cloud.lacking["us-west-2"] = {"g5.xlarge"}

    done = rapido("deploy", *DOMAIN, "--yes")

    assert done.exit_code == 1
    for fault in ("no public hosted zone", "has no g5.xlarge", "where its rooms are"):
        assert fault in done.stdout
    assert run.cloud.roots() == []


def test_a_dry_run_as_json_tells_what_is_missing(rapido: Command, run: Run) -> None:
    run.cloud.hosted = []

    done = rapido("deploy", *DOMAIN, *LIVEKIT, "--dry-run", "--json")

    levels = [one["level"] for one in json.loads(done.stdout)["findings"]]
    assert (done.exit_code, levels) == (1, ["missing", "note", "note", "note"])


def test_deploy_as_json_keeps_progress_off_standard_output(rapido: Command) -> None:
    done = rapido("deploy", *DOMAIN, *LIVEKIT, "--yes", "--json")

    report = json.loads(done.stdout)
    assert report["url"] == "https://rapido.example.com"
    assert set(report["serving"]) == set(REGIONS)
    assert "CREATE_COMPLETE" in done.stderr


def test_a_region_that_failed_is_told_last_with_its_remedy(rapido: Command, run: Run) -> None:
    run.cloud.stacks("us-west-2").broken["rapido-us-west-2", "Api"] = "a limit was reached"

    done = rapido("deploy", *DOMAIN, *LIVEKIT, "--yes")

    assert done.exit_code == 1
    told = done.stdout[done.stdout.rindex("us-east-1        deployed") :]
    assert "us-west-2        failed" in told
    assert "a limit was reached" in told
    assert "https://rapido.example.com" in told


def test_credentials_that_expire_are_one_line_and_no_traceback(rapido: Command, run: Run) -> None:
    rapido("deploy", *DOMAIN, *LIVEKIT, "--yes")
    run.cloud.trip = Trip("us-east-1", len(run.cloud.calls["us-east-1"]) + 1, expired)

    done = rapido("status")

    assert done.exit_code == 1
    assert "expired" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--domain", "localhost"), "--domain: 'localhost' is no host name"),
        ((*DOMAIN, "--regions", "us-east-1,mars"), "--regions: 'mars' is no region"),
        ((*DOMAIN, "--regions", "us-east-1,us-east-1"), "one is there twice"),
        ((*DOMAIN, "--home", "eu-west-1"), "--home: eu-west-1 is none of"),
        ((*DOMAIN, "--stage", "Prod!"), "--stage: 'Prod!'"),
        ((*DOMAIN, "--size", "huge"), "--size: 'huge' is none of full, small"),
        ((*DOMAIN, "--livekit", "http://x", "--livekit-secret", "s"), "is no address"),
        ((*DOMAIN, "--livekit", "wss://x"), "--livekit-secret: missing"),
        ((*DOMAIN, "--livekit-secret", "s"), "names keys of no server"),
        ((*DOMAIN, "--livekit", "self", "--livekit-secret", "s"), "self makes servers and keys"),
        (
            (*DOMAIN, "--livekit", "us-east-1=wss://x", "--livekit-secret", "s"),
            "none for us-west-2, eu-central-1",
        ),
        ((*DOMAIN, "--set", "MaxNodes"), "write NAME=VALUE"),
        ((*DOMAIN, "--set", "mars:MaxNodes=3"), "mars is none of"),
    ],
)
def test_a_wrong_option_is_exit_2_and_named(
    rapido: Command, arguments: tuple[str, ...], fault: str
) -> None:
    done = rapido("deploy", *arguments)

    assert done.exit_code == 2
    assert fault in " ".join(done.stderr.replace("│", "").split())


def test_a_plan_offline_is_the_cost_and_asks_no_account(rapido: Command, run: Run) -> None:
    done = rapido("plan", *DOMAIN, "--offline")

    assert done.exit_code == 0
    assert "GPU nodes, on demand" in done.stdout
    assert "LIST PRICES" in done.stdout
    assert run.cloud.calls == {}


def test_a_plan_of_what_is_there_shows_what_would_change_and_leaves_it(
    rapido: Command, run: Run
) -> None:
    run.deploy()
    before = run.cloud.picture()

    done = rapido("plan", *DOMAIN, *LIVEKIT, "--set", "us-west-2:WarmRooms=3", "--json")

    changes = json.loads(done.stdout)["changes"]
    assert {one["region"] for one in changes} == {"us-west-2"}
    assert {one["action"] for one in changes} == {"change"}
    assert run.cloud.picture() == before
    assert not any(one.proposals for _, one in run.cloud.roots())


def test_a_plan_of_nothing_new_says_so(rapido: Command, run: Run) -> None:
    run.deploy()

    assert "nothing would change" in rapido("plan", *DOMAIN, *LIVEKIT).stdout


def test_a_plan_of_new_cells_makes_nothing(rapido: Command, run: Run) -> None:
    done = rapido("plan", *DOMAIN, *LIVEKIT, "--json")

    changes = json.loads(done.stdout)["changes"]
    assert {one["action"] for one in changes} == {"add"}
    homes = {one["region"] for one in changes if one["resource"] == "RecordsQueue"}
    assert homes == {"us-east-1"}, "conditions hold in a plan as well"
    assert run.cloud.roots() == []


def test_a_plan_that_cannot_look_into_nested_stacks_shows_what_it_can(
    rapido: Command, run: Run
) -> None:
    run.deploy()
    for region in REGIONS:
        run.cloud.stacks(
            region
        ).nested_fault = (
            "Nested change set arn:x was not successfully created: Currently in FAILED."
        )

    done = rapido("plan", *DOMAIN, *LIVEKIT, "--set", "us-west-2:WarmRooms=3", "--json")

    assert done.exit_code == 0, done.output
    changes = json.loads(done.stdout)["changes"]
    assert {one["region"] for one in changes if one["action"] == "change"} == {"us-west-2"}
    assert {one["resource"] for one in changes if one["action"] == "may change"} == {
        "Alarms",
        "Network",
        "Stores",
    }
    assert not any(one.proposals for _, one in run.cloud.roots())


def test_a_plan_of_a_stack_that_is_under_way_says_so(rapido: Command, run: Run) -> None:
    run.deploy()
    (cell,) = [one for _, one in run.cloud.roots() if one.name == "rapido-us-west-2"]
    cell.status = "UPDATE_IN_PROGRESS"

    done = rapido("plan", *DOMAIN, *LIVEKIT)

    assert done.exit_code == 1
    assert "rapido-us-west-2: it is UPDATE_IN_PROGRESS" in done.output


def test_what_a_plan_would_make_anew_and_holds_data_is_marked(rapido: Command, run: Run) -> None:
    run.deploy()
    run.cloud.stacks("us-east-1").replaced.add("RecordsQueue")

    done = rapido("plan", *DOMAIN, *LIVEKIT, "--set", "us-east-1:LogDays=60", "--json")

    (row,) = [one for one in json.loads(done.stdout)["changes"] if one["action"] == "replace"]
    assert row["resource"] == "RecordsQueue"
    assert row["danger"] == "messages in it are lost"


def test_status_shows_every_cell_and_the_edge(rapido: Command, run: Run) -> None:
    run.deploy()

    done = rapido("status", "--key", "rk_operator", "--json")

    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [one["health"] for one in told["cells"]] == ["ready"] * 3
    assert told["cells"][0]["workers"] == "2 of 2 alive, 0 of 24 slots used"
    assert told["edge"]["url"] == "https://rapido.example.com"
    assert ".dkr.ecr.us-east-1.amazonaws.com/" in told["cells"][0]["images"]


def test_status_of_a_sick_cell_is_exit_1_and_says_which(rapido: Command, run: Run) -> None:
    run.deploy()
    run.web.sick.add("us-west-2.rapido.example.com")

    done = rapido("status")

    assert done.exit_code == 1
    assert "us-west-2: https://us-west-2.rapido.example.com/health/ready" in done.stdout


def test_destroy_asks_for_the_stages_name(rapido: Command, run: Run) -> None:
    run.deploy()

    done = rapido("destroy", typed="production\n")

    assert done.exit_code == 2
    assert len(run.cloud.roots()) == 7


def test_destroy_ends_the_edge_then_the_cells_and_keeps_what_holds_data(
    rapido: Command, run: Run
) -> None:
    run.deploy()

    done = rapido("destroy", typed="prod\n")

    assert done.exit_code == 0, done.output
    assert [one.name for _, one in run.cloud.roots()] == [
        f"rapido-{region}-artifacts" for region in sorted(REGIONS)
    ]
    assert "rapido-prod-edge" not in run.cloud.secret_store
    assert run.cloud.kept["rapido-prod-edge"], "the edge's bucket stays"
    assert "KEPT" in done.stdout


def test_destroy_with_its_data_leaves_nothing(rapido: Command, run: Run) -> None:
    run.deploy()
    run.cloud.kept["rapido-us-east-1"] = [Leftover("snapshot", "s"), Leftover("key", "k")]

    done = rapido("destroy", "--delete-data", "--yes")

    assert done.exit_code == 0, done.output
    assert run.cloud.roots() == []
    assert not any(run.cloud.kept.values())


def test_destroy_of_one_region_leaves_the_edge_and_the_others(rapido: Command, run: Run) -> None:
    run.deploy()

    rapido("destroy", "--regions", "us-west-2", "--yes")

    left = {one.name for _, one in run.cloud.roots()}
    assert "rapido-us-west-2" not in left
    assert {"rapido-prod-edge", "rapido-us-east-1", "rapido-eu-central-1"} <= left


def _nodes(run: Run) -> None:
    node = Instance("i-1", "InService", protected=True)
    run.cloud.nodes["us-west-2"] = [Group("rapido-us-west-2-g5.xlarge-on-demand", (node,))]


def test_destroy_does_not_cut_lessons_unless_it_is_told_to(rapido: Command, run: Run) -> None:
    run.deploy(wanted(worker_image=IMAGE))
    _nodes(run)

    refused = rapido("destroy", "--regions", "us-west-2", "--yes")
    assert refused.exit_code == 1
    assert "give --key of an operator" in refused.output
    assert run.cloud.nodes["us-west-2"][0].instances

    cut = rapido("destroy", "--regions", "us-west-2", "--yes", "--now")
    assert cut.exit_code == 0, cut.output
    assert run.cloud.nodes["us-west-2"][0].instances == ()


def test_destroy_with_a_key_drains_and_waits_for_the_last_lesson(rapido: Command, run: Run) -> None:
    run.deploy(wanted(worker_image=IMAGE))
    _nodes(run)
    run.web.used = 4

    done = rapido("destroy", "--regions", "us-west-2", "--yes", "--key", "rk_operator")

    assert done.exit_code == 0, done.output
    drained = "https://us-west-2.rapido.example.com/api/v1/workers/i-1/drain"
    assert ("POST", drained) in run.web.asked
    assert "3 lessons go on" in done.stdout
    assert "1 lessons go on" in done.stdout


def test_destroy_run_again_ends_a_stack_whose_deletion_failed(rapido: Command, run: Run) -> None:
    run.deploy()
    run.cloud.stacks("us-west-2").stuck.add("rapido-us-west-2")

    first = rapido("destroy", "--yes")
    run.cloud.stacks("us-west-2").stuck.clear()
    again = rapido("destroy", "--yes")

    assert first.exit_code == 1
    assert "DELETE_FAILED" in first.stdout
    assert again.exit_code == 0, again.output


def test_a_key_is_made_by_the_home_cell_and_shown(rapido: Command, run: Run) -> None:
    run.deploy()

    done = rapido("key", "create", "--tenant", "school", "--role", "client", "--json")

    assert json.loads(done.stdout)["key"] == "rk_made"
    assert run.cloud.invoked[-1][1] == {"do": "create-key", "tenant": "school", "role": "client"}


def test_a_key_of_a_cell_that_is_no_home_is_refused(rapido: Command, run: Run) -> None:
    run.deploy()

    done = rapido("key", "create", "--tenant", "school", "--role", "client", "--home", "us-west-2")

    assert done.exit_code == 1
    assert "no home cell" in done.output


def test_a_stack_that_blocks_is_told_with_its_command(rapido: Command, run: Run) -> None:
    _leave(run.cloud, "us-west-2", "rapido-us-west-2", "UPDATE_ROLLBACK_FAILED")

    done = rapido("deploy", *DOMAIN, *LIVEKIT, "--yes")

    assert done.exit_code == 1
    assert "continue-update-rollback --stack-name rapido-us-west-2" in done.stdout
