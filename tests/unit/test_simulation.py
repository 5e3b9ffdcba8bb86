"""The trials under faults: quick ones here, many by ``rapido simulate faults``."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from control.domain.errors import unavailable
from control.services import setup
from ops.cli import app
from ops.simulate import mutants
from ops.simulate.faults import caught, trials
from ops.simulate.machine import Execution, SimStates, definition
from ops.simulate.model import ModelStore
from ops.simulate.trial import CALM_AFTER_MS, Trial
from ops.simulate.world import EPOCH_MS, Chances, Died, World
from tests.store_operations import an_ask


def a_calm_world() -> World:
    return World(1, Chances(), calm_after_ms=0)


@pytest.mark.parametrize("first", range(1, 1001, 125))
def test_a_thousand_seeds_oversell_nothing_leak_nothing_and_leave_nobody_untold(first: int) -> None:
    results = trials(first, 125)
    problems = {result.seed: result.problems for result in results if result.problems}

    assert problems == {}


def test_a_trial_is_no_idle_one() -> None:
    figures = [result.figures for result in trials(1, 10)]

    for name in ("accepted", "live", "ended", "failed", "failovers", "revoked", "in_held_slots"):
        assert sum(one.get(name, 0) for one in figures) > 0, name


def test_a_seed_is_the_same_run_again() -> None:
    first, again = Trial(3), Trial(3)

    assert first.run() == again.run()
    assert first.model.snapshot() == again.model.snapshot()


@pytest.mark.parametrize(
    "mutant",
    [
        mutants.DropForgetsTheCount,
        mutants.NothingIsRevoked,
        mutants.NobodyIsHanded,
        mutants.TheDeadAreNotReaped,
        mutants.AHeartbeatOpens,
        mutants.ASlotIsHeldAndTaken,
    ],
)
def test_a_bug_in_the_store_is_noticed(mutant: type[ModelStore]) -> None:
    (found,) = caught(1, 40, [mutant])

    assert found.seed is not None, found.how


def test_a_bug_that_nobody_can_notice_is_told_as_such() -> None:
    class Harmless(ModelStore):
        """Nothing differs."""

    (found,) = caught(1, 2, [Harmless])

    assert (found.seed, found.how) == (None, "nothing in 2 runs")


def test_without_faults_every_lesson_is_served() -> None:
    trial = Trial(5)
    trial.world.calm_after_ms = EPOCH_MS
    trial._accidents = lambda: None  # type: ignore[method-assign]

    result = trial.run()

    assert result.problems == ()
    reasons = {kept.session.reason for kept in trial.model.state.sessions.values()}
    assert reasons <= {
        None,
        "Its client ended it.",
        "The lesson ended.",
        "The stream is over.",
        "Nobody asked for its place any more.",
    }


def test_a_session_that_a_failover_put_back_into_the_queue_waits_for_a_setup_of_its_own() -> None:
    trial = Trial(1)
    trial.world.calm_after_ms = EPOCH_MS
    ask = an_ask("s-sim-00000001", "ash", "maths")
    trial.model.place(replace(ask, wait=True))

    with pytest.raises(setup.LeaseLost):
        setup.start_stream(trial.cell, ask.session_id, ask.execution, "token")
    with pytest.raises(setup.SetupOver):
        setup.place_again(trial.cell, ask.session_id, ask.execution, unable=False)
    with pytest.raises(setup.SetupOver, match="set up by"):
        setup.start_stream(trial.cell, ask.session_id, ask.execution, "token")

    session = trial.model.session(ask.session_id)
    assert session is not None
    assert (session.status, session.execution) == ("queued", f"{ask.execution}-1")
    assert trial.model.check() == []


def test_no_fault_befalls_anyone_when_the_faults_are_over() -> None:
    world = World(1, Chances(), CALM_AFTER_MS)
    world.now_ms = EPOCH_MS + CALM_AFTER_MS

    assert not any(world.chance(1.0) for _ in range(5))


def test_a_function_dies_between_two_calls() -> None:
    world = World(1, Chances(dies=1.0), CALM_AFTER_MS)
    done: list[int] = []

    def function() -> None:
        for number in range(100):
            world.step()
            done.append(number)

    with pytest.raises(Died):
        world.invoke(function)

    assert 0 <= len(done) < 14


def test_the_command_prints_how_to_replay_and_exits_1_for_a_bad_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ModelStore, "check", lambda self: ["a slot is sold twice"])

    answer = CliRunner().invoke(app, ["simulate", "faults", "--seed", "9", "--runs", "1", "--json"])

    told = json.loads(answer.stdout)["failed"][0]
    assert answer.exit_code == 1
    assert "a slot is sold twice" in told["problem"]
    assert told["replay"] == "rapido simulate faults --seed 9 --runs 1"


def an_execution(world: World, fail_first: int) -> tuple[Execution, list[str]]:
    """A setup whose functions do nothing, but that activation fails at first."""
    states, calls = SimStates(world), list[str]()

    def function(name: str) -> None:
        def run(event: dict[str, object]) -> object:
            calls.append(name)
            if name == "ActivateFunction" and calls.count(name) <= fail_first:
                raise StoreAway("away")
            if name == "StartStreamFunction":
                states.answer(str(event["task_token"]), {"generation": 7})
            return {}

        states.functions[name] = run

    for name in ("Place", "StartStream", "Activate", "Record", "PlaceAgain", "Fail"):
        function(name + "Function")
    execution = Execution(states, "s-x", {"session_id": "s-x"})
    execution.begin()
    return execution, calls


class StoreAway(Exception):
    """By this name the state machine knows that trying again helps."""


def test_the_interpreter_retries_what_the_state_machine_retries() -> None:
    world = World(1, Chances(), 0, (StoreAway,))
    execution, calls = an_execution(world, fail_first=3)

    world.run(EPOCH_MS + 30_000)

    assert execution.status == "SUCCEEDED"
    assert calls.count("ActivateFunction") == 4
    assert calls[-1] == "RecordFunction"


def test_the_interpreter_catches_what_retries_do_not_mend() -> None:
    world = World(1, Chances(), 0, (StoreAway,))
    execution, calls = an_execution(world, fail_first=4)

    world.run(EPOCH_MS + 60_000)

    assert execution.status == "SUCCEEDED"
    assert calls[5:] == [
        "PlaceAgainFunction",
        "StartStreamFunction",
        "ActivateFunction",
        "RecordFunction",
    ]


def test_a_token_that_nobody_answers_times_out() -> None:
    world = a_calm_world()
    states = SimStates(world)
    states.functions = {
        "StartStreamFunction": lambda event: None,
        "PlaceAgainFunction": lambda event: _raise(NoWorker("none is left")),
        "FailFunction": lambda event: None,
    }
    world = states.world
    execution = Execution(states, "s-x", {"session_id": "s-x"})
    world._expected = (NoWorker,)
    execution.begin()

    world.run(EPOCH_MS + 15_000)

    limit_s = definition()["States"]["Start the stream"]["TimeoutSeconds"]
    assert limit_s <= 15
    assert execution.status == "FAILED"
    assert execution.data["fault"]["Error"] == "States.Timeout"
    assert execution.data["end"] == {"Error": "NoWorker", "Cause": "none is left"}


class NoWorker(Exception):
    """By this name the state machine knows that the session failed."""


def _raise(error: Exception) -> None:
    raise error


def test_an_error_that_nobody_raises_on_purpose_is_a_problem_of_the_run() -> None:
    world = World(1, Chances(), 0, (type(unavailable("x")),))

    with pytest.raises(ZeroDivisionError):
        world.invoke(lambda: 1 // 0)

    assert "ZeroDivisionError" in world.problems[0]
