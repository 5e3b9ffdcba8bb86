"""The worker's image: enough files and packages, no more rights than it needs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gpu_node.avatars.source import cache_folder
from ops.cell.intrinsics import read_yaml
from tests.worker_image import (
    ROOT,
    copies,
    environment,
    health_check,
    last_stage,
    lay_out,
    value_of,
)

ON_A_CPU_ONLY = ("onnx_cpu.py", "onnx_cut.py", "onnx_int8.py", "graphs.py")
_IMPORT_ALL = """
import importlib, json, pkgutil, sys
import gpu_node
for one in pkgutil.walk_packages(gpu_node.__path__, "gpu_node."):
    importlib.import_module(one.name)
ours = ("control", "gpu_node", "ops", "app")
print(json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()
                  if name.split(".")[0] in ours}))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's own files."""
    root = tmp_path_factory.mktemp("image")
    lay_out(root)
    return root


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    """Its packages and their versions."""
    lines = (ROOT / "gpu_node/requirements-gpu.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version for name, version in (one.split("==") for one in lines)
    }


def test_every_module_of_the_image_imports_with_nothing_but_the_image(image: Path) -> None:
    app = image / value_of("WORKDIR").lstrip("/")

    told = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL],
        cwd=app,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(app)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert told.returncode == 0, told.stderr[-2000:]
    modules = json.loads(told.stdout.splitlines()[-1])
    assert {"gpu_node.worker", "gpu_node.engine.torch_engine", "gpu_node.__main__"} <= set(modules)
    assert [name for name, file in modules.items() if not str(file).startswith(str(app))] == []


def test_every_package_that_a_gpu_worker_imports_is_in_the_image(
    image: Path, pinned: dict[str, str]
) -> None:
    distributions = packages_distributions()
    wanted = {
        (name, file.name)
        for file in image.rglob("*.py")
        if file.name not in ON_A_CPU_ONLY
        for name in imported(file)
        if name not in sys.stdlib_module_names and name not in ("control", "gpu_node")
    }

    assert {"torch", "livekit", "cv2", "av"} <= {name for name, _ in wanted}
    assert [
        (name, file)
        for name, file in sorted(wanted)
        if not {canonicalize_name(one) for one in distributions.get(name, ())} & set(pinned)
    ] == []


def test_the_packages_need_none_that_is_not_pinned(pinned: dict[str, str]) -> None:
    missing = [
        (name, needed.name)
        for name in pinned
        for needed in map(Requirement, requires(name) or ())
        if (needed.marker is None or needed.marker.evaluate({"extra": ""}))
        and canonicalize_name(needed.name) not in pinned
    ]

    assert missing == []


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.split(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_nothing_is_copied_that_the_build_does_not_see() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    seen = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert "*" in lines
    assert {source for source, _ in copies()} == seen


def test_the_worker_is_nobody_and_owns_its_cache() -> None:
    settings = environment()
    made = [step.rest for step in last_stage() if step.name == "RUN" and "useradd" in step.rest]
    user, cache = value_of("USER"), value_of("VOLUME")
    assert len(made) == 1
    names = re.findall(rf"useradd --uid {user} .* (\w+) +&&", made[0])

    assert int(user) >= 1000
    assert len(names) == 1
    assert f"--owner {names[0]} --group {names[0]} {cache}" in made[0]
    assert settings["XDG_CACHE_HOME"] == cache
    assert settings["TRITON_CACHE_DIR"].startswith(f"{cache}/")


def test_a_pool_runs_the_image_as_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = read_yaml(ROOT / "infra/gpu_pool.yaml")["Resources"]["LaunchTemplate"]
    script, _ = launch["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    port, cache = value_of("EXPOSE"), value_of("VOLUME")
    (kept,) = re.findall(r"--volume \S+:(\S+)", script)
    (said,) = re.findall(r"^XDG_CACHE_HOME=(\S+)", script, re.M)

    monkeypatch.setenv("XDG_CACHE_HOME", said)

    assert kept == cache
    assert cache_folder("i-0abc").is_relative_to(cache)
    assert f"--publish {port}:{port} " in script
    assert f"RAPIDO_PORT={port}\n" in script
    assert environment()["RAPIDO_PORT"] == port


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_it_is_healthy_when_it_says_that_it_is_ready(status: int, code: int) -> None:
    with answering(status) as (port, paths):
        checked = subprocess.run(
            health_check(), env={"PATH": "/usr/bin:/bin", "RAPIDO_PORT": str(port)}, timeout=10
        )

    assert (checked.returncode, paths) == (code, ["/ready"])


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server of that one answer, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quietly."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, paths
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
