"""``rapido bench control``: what a function costs, measured on the package that ships."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.services import access
from ops.bench.deploy_step import deploy_step
from ops.bench.http_cell import CELL, functions_plan, start_aws
from ops.bench.stage import REGION, Stage
from ops.cell.aws import aws_environment
from ops.cell.emulator import Emulated, unpack
from ops.cell.files import ROOT, plain_environment
from ops.cell.supervisor import PartError, Supervisor
from ops.cell.template import Function
from ops.cell.valkey import start_valkey
from ops.figures import Figure, at_most, median, write
from ops.package import IMAGE_PYTHON, ZIP

IMPORT_LIMIT_MS = 250.0
FIRST_ANSWER_LIMIT_MS = 1000.0
WARM_LIMIT_MS = 8.0
ZIP_LIMIT_MB = 15.0

_EVENT = ROOT / "events" / "ApiFunction" / "create_session.json"
_WORKERS = 1000
_IMPORT = """
import sys, time
import awslambdaric.bootstrap  # runs before any handler is imported
began = time.perf_counter()
__import__(sys.argv[1])
print((time.perf_counter() - began) * 1000)
"""
_IDLE = "def answer(event, context):\n    return {}\n"


@dataclass(frozen=True)
class Size:
    """How often each is done."""

    imports: int
    starts: int
    invokes: int


def control(out: Path, quick: bool, say: Callable[[str], None]) -> dict[str, Figure]:
    """The control plane: import, first answer and warm answer of its package under Lambda's
    emulator, its size, and what a deploy adds to each step."""
    size = Size(5, 2, 100) if quick else Size(10, 7, 1000)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        code = unpack(ZIP, folder / "task")
        supervisor = Supervisor(folder / "logs", lambda death: say(death.describe()))
        opened.callback(supervisor.stop_all)
        stand = _Stand(supervisor, folder, code)
        handler = stand.asked.handler
        say(f"a new interpreter imports {handler}, {size.imports} times")
        figures = {"import_ms": _imported(stand, size.imports)}
        say(f"{size.starts} cold starts and {size.invokes} warm calls under the emulator, in turn")
        figures |= _answered(stand, size)
    figures["deploy_step_s"] = deploy_step(quick, say)
    figures["zip_mb"] = at_most(ZIP.stat().st_size / 1e6, "MB", ZIP_LIMIT_MB)
    write(out / "control.json", "control", figures)
    return figures


class _Stand:
    """A store with free workers, a stand-in for AWS, the function that creates sessions, and beside
    it one that does nothing."""

    def __init__(self, supervisor: Supervisor, folder: Path, code: Path) -> None:
        store_url = start_valkey(supervisor, folder)
        aws_url = start_aws(supervisor)
        functions = functions_plan(store_url, aws_url).deployment().functions
        self.asked = next(f for f in functions.values() if _creates_sessions(f))
        self.code = code
        self.idle_code = folder / "idle"
        self.idle_code.mkdir()
        (self.idle_code / "idle.py").write_text(_IDLE)
        self._supervisor = supervisor
        self._aws = aws_environment(aws_url, REGION)
        self._event = json.loads(_EVENT.read_text())
        self._lesson = 0
        stage = Stage(store_url, CELL)
        stage.enlist(_WORKERS)
        key = self._event["headers"]["Authorization"].removeprefix("Bearer ")
        stage.store.put_key(access.digest(key), {"tenant": "school", "role": "client"})

    def start(self) -> Emulated:
        """The function that creates sessions, cold."""
        return Emulated(self._supervisor, self.asked, self.code, self._aws)

    def start_idle(self) -> Emulated:
        """One that does nothing, as cold."""
        idle = Function("Idle", "idle.answer", {}, 15, self.asked.memory_mb, (), (), (), (), ())
        return Emulated(self._supervisor, idle, self.idle_code, {})

    def create_ms(self, function: Emulated) -> float:
        """How long a new lesson's session takes. Raises PartError unless it is a new one."""
        self._lesson += 1
        body = json.dumps({**json.loads(self._event["body"]), "lesson_id": f"l{self._lesson}"})
        took_ms, answer = _timed(function, self._event | {"body": body})
        if answer["statusCode"] != 201:
            raise PartError(f"wanted 201 of {self.asked.name}, got {answer}")
        return took_ms

    def environment(self) -> Mapping[str, str]:
        """What an import of the function sees."""
        return plain_environment() | self.asked.environment | {"PYTHONDONTWRITEBYTECODE": "1"}


def _creates_sessions(function: Function) -> bool:
    return any((r.method, r.path) == ("POST", "/api/v1/sessions") for r in function.routes)


def _timed(function: Emulated, event: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = function.invoke(event)
    return (time.perf_counter() - began) * 1000, answer


def _imported(stand: _Stand, runs: int) -> Figure:
    module = stand.asked.handler.rpartition(".")[0]
    pairs = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        answer = subprocess.run(
            [IMAGE_PYTHON, "-c", _IMPORT, module],
            check=True, cwd=stand.code, env=stand.environment(), capture_output=True,
        )  # fmt: skip
        whole_ms = (time.perf_counter() - began) * 1000
        import_ms = float(answer.stdout)
        pairs.append((import_ms, whole_ms - import_ms))
    warm_disk = pairs[1:]
    took = statistics.median(imported for imported, _ in warm_disk)
    bare = statistics.median(rest for _, rest in warm_disk)
    return _beside(took, bare, IMPORT_LIMIT_MS, "start and end of Python and the runtime client")


def _answered(stand: _Stand, size: Size) -> dict[str, Figure]:
    first, idle_first, warm, idle_warm = [], [], [], []
    for _ in range(size.starts):
        function, idle = stand.start(), stand.start_idle()
        idle_first.append(_timed(idle, {})[0])
        first.append(stand.create_ms(function))
        for _ in range(size.invokes // size.starts):
            idle_warm.append(_timed(idle, {})[0])
            warm.append(stand.create_ms(function))
        function.stop()
        idle.stop()
    nothing = "a function that does nothing, under the same emulator"
    return {
        "first_answer_ms": _beside(
            median(first), median(idle_first), FIRST_ANSWER_LIMIT_MS, nothing
        ),
        "warm_p50_ms": _beside(median(warm), median(idle_warm), WARM_LIMIT_MS, nothing),
    }


def _beside(value: float, baseline: float, limit: float, what: str) -> Figure:
    figure = at_most(value, "ms", limit)
    note = f"baseline: {what}; ratio = value ÷ it"
    return Figure(value, "ms", figure.goal, figure.holds, baseline, value / baseline, note)
