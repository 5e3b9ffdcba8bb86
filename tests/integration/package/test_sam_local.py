"""`sam local` runs the package in AWS's own image, where a container engine is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.cell.files import ROOT
from ops.cell.ports import free_port

SAM = ROOT / ".venv-sam" / "bin" / "sam"
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
HEALTH = ROOT / "events" / "ApiFunction" / "health.json"
VARIABLES = ROOT / "events" / "environment.json"
START_TIMEOUT_S = 280
pytestmark = pytest.mark.timeout(600)  # the first run fetches the image


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """Skips with what the engine said, where there is none."""
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("sam local was not tried: there is no docker command")
    asked = subprocess.run([docker, "version"], capture_output=True, text=True, timeout=30)
    if asked.returncode != 0:
        pytest.skip(f"sam local was not tried: {asked.stderr.strip().splitlines()[-1]}")


def sam(*words: str) -> list[str]:
    given = ["--template-file", str(BUILT), "--env-vars", str(VARIABLES), "--skip-pull-image"]
    return [str(SAM), "local", *words, *given]


@pytest.fixture
def environment() -> dict[str, str]:
    account = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    region = {"AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0"}
    return {**os.environ, **account, **region}


def test_sam_local_invoke_answers_a_recorded_event(
    package: Path, environment: dict[str, str]
) -> None:
    command = sam("invoke", "ApiFunction", "--event", str(HEALTH))

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["cell"] == "desk"


@pytest.fixture
def api(package: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with (tmp_path / "sam.log").open("w") as log:
        running = subprocess.Popen(
            sam("start-api", "--port", str(port)), env=environment, stdout=log, stderr=log
        )
        yield f"http://127.0.0.1:{port}"
        running.send_signal(signal.SIGTERM)
        running.wait(30)


def test_sam_local_start_api_serves_the_routes(api: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            answer = httpx.get(f"{api}/health", timeout=START_TIMEOUT_S)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.2)

    assert answer.status_code == 200, answer.text
