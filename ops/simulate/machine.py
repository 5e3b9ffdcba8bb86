"""A small interpreter of session_setup's states, read from the file that is deployed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from control.domain.errors import unavailable
from ops.simulate.world import Died, World

_FILE = Path(__file__).parents[2] / "statemachines" / "session_setup.asl.json"
Functions = dict[str, Callable[[dict[str, Any]], Any]]


@cache
def definition() -> dict[str, Any]:
    """The state machine as deployed."""
    machine: dict[str, Any] = json.loads(_FILE.read_text())
    return machine


class StatesError(Exception):
    """An error by its name in the states language."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(cause)
        self.name, self.cause = name, cause


class Execution:
    """One run; ``status`` as Step Functions tells it."""

    def __init__(self, states: SimStates, name: str, given: dict[str, Any]) -> None:
        self.name, self.data, self.status = name, dict(given), "RUNNING"
        self._states, self._world = states, states.world
        self._visit = 0
        self._tries: dict[int, int] = {}
        self._state: dict[str, Any] = {}
        limit_ms = definition()["TimeoutSeconds"] * 1000
        self._world.at(limit_ms, lambda: self._stop("TIMED_OUT"))

    def begin(self) -> None:
        """The first state."""
        self._enter(definition()["StartAt"])

    def _stop(self, status: str) -> None:
        if self.status == "RUNNING":
            self.status = status
            self._visit += 1

    def _enter(self, name: str) -> None:
        state = definition()["States"][name]
        if state is not self._state:
            self._tries = {}
        self._state = state
        self._visit += 1
        kind = state["Type"]
        if kind == "Succeed":
            self._stop("SUCCEEDED")
        elif kind == "Fail":
            self._stop("FAILED")
        elif kind == "Choice":
            self._enter(self._choice(state))
        elif kind == "Task":
            self._task(state)
        else:
            raise NotImplementedError(f"state type {kind} of {name}; the interpreter lacks it")

    def _choice(self, state: dict[str, Any]) -> str:
        for rule in state["Choices"]:
            if set(rule) != {"Variable", "IsPresent", "Next"}:
                raise NotImplementedError(f"choice {rule}; the interpreter knows IsPresent only")
            if (rule["Variable"].removeprefix("$.") in self.data) == rule["IsPresent"]:
                return str(rule["Next"])
        return str(state["Default"])

    def _task(self, state: dict[str, Any]) -> None:
        visit, world = self._visit, self._world
        token = f"{self.name}#{visit}"
        waits = state["Resource"].endswith(".waitForTaskToken")
        given = state["Parameters"]
        payload = {
            key.removesuffix(".$"): self._path(path, token) if key.endswith(".$") else path
            for key, path in given["Payload"].items()
        }
        function = self._states.functions[given["FunctionName"].strip("${}")]
        if waits:
            self._states.tokens[token] = (self, visit)
        if "TimeoutSeconds" in state:
            late = StatesError("States.Timeout", "")
            world.at(state["TimeoutSeconds"] * 1000, lambda: self.settle(visit, late))

        def run() -> None:
            answer = self._states.run(function, payload)
            if isinstance(answer, StatesError) or not waits:
                self.settle(visit, answer)

        world.at(world.rng.randint(5, 30), run)
        if world.chance(world.chances.doubled):
            world.at(
                world.rng.randint(5, 4_000), lambda: self._states.run(function, payload) and None
            )

    def _path(self, path: str, token: str) -> Any:
        if path == "$$.Task.Token":
            return token
        if path == "$$.Execution.Name":
            return self.name
        value: Any = self.data
        for name in path.removeprefix("$").split("."):
            value = value[name] if name else value
        return value

    def settle(self, visit: int, answer: Any) -> None:
        """The end of a task; what comes late is nothing."""
        if self.status != "RUNNING" or visit != self._visit:
            return
        if isinstance(answer, StatesError):
            self._failed(answer)
            return
        state = self._state
        result = answer if ".waitForTaskToken" in state["Resource"] else {"Payload": answer}
        self._put(state.get("ResultPath", "$"), result)
        if state.get("OutputPath") == "$.Payload":
            self.data = self.data["Payload"]
        self._enter(state["Next"])

    def _put(self, path: str | None, result: Any) -> None:
        if path == "$":
            self.data = result
        elif path is not None:
            self.data = {**self.data, path.removeprefix("$."): result}

    def _failed(self, error: StatesError) -> None:
        wait_ms = self._wait_ms(error)
        if wait_ms is not None:
            self._visit += 1
            visit = self._visit
            self._world.at(wait_ms, lambda: self._again(visit))
            return
        for catcher in self._state.get("Catch", ()):
            if _matches(catcher, error):
                self._put(catcher["ResultPath"], {"Error": error.name, "Cause": error.cause})
                self._enter(catcher["Next"])
                return
        self._stop("FAILED")

    def _wait_ms(self, error: StatesError) -> float | None:
        """Before the next try; None when there is none."""
        for index, retrier in enumerate(self._state.get("Retry", ())):
            if _matches(retrier, error):
                tried = self._tries.get(index, 0)
                if tried >= retrier["MaxAttempts"]:
                    return None
                self._tries[index] = tried + 1
                growth: float = retrier["BackoffRate"] ** tried
                return 1000 * float(retrier["IntervalSeconds"]) * growth
        return None

    def _again(self, visit: int) -> None:
        if self.status == "RUNNING" and visit == self._visit:
            self._visit += 1
            self._task(self._state)


def _matches(rule: dict[str, Any], error: StatesError) -> bool:
    return error.name in rule["ErrorEquals"] or "States.ALL" in rule["ErrorEquals"]


class SimStates:
    """The Workflows port over the interpreter."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.functions: Functions = {}
        self.executions: dict[str, Execution] = {}
        self.tokens: dict[str, tuple[Execution, int]] = {}

    def run(self, function: Callable[[dict[str, Any]], Any], payload: dict[str, Any]) -> Any:
        """A function's answer, or the StatesError of what it raised."""
        try:
            return self.world.invoke(lambda: function(payload))
        except Died:
            return StatesError("Lambda.Unknown", "")
        except Exception as error:  # noqa: BLE001 - each is an error of the states language
            return StatesError(type(error).__name__, str(error))

    def start_setup(self, execution: str, given: dict[str, Any]) -> None:
        self.world.step()
        if self.world.chance(self.world.chances.lost):
            raise unavailable("workflows")
        if execution not in self.executions:
            run = self.executions[execution] = Execution(self, execution, given)
            self.world.at(self.world.rng.randint(5, 60), run.begin)
        self.world.step()

    def setup_ended(self, execution: str) -> bool:
        found = self.executions.get(execution)
        return found is not None and found.status != "RUNNING"

    def answer(self, task_token: str, output: dict[str, Any]) -> None:
        self._settle(task_token, output)

    def refuse(self, task_token: str, reason: str) -> None:
        self._settle(task_token, StatesError("StreamFailed", reason))

    def _settle(self, token: str, answer: Any) -> None:
        self.world.step()
        if token in self.tokens:
            execution, visit = self.tokens[token]
            self.world.at(self.world.rng.randint(2, 20), lambda: execution.settle(visit, answer))
        self.world.step()

    def ping(self) -> None:
        """Always there."""
