"""make image: what it asks of a container engine, and what it says where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.worker_image import ROOT

# of its own: this run may itself be a make's, with words for it
PLAIN = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS", "MFLAGS")}


def test_without_an_engine_the_build_says_what_to_do(tmp_path: Path) -> None:
    dead = tmp_path / "docker"
    dead.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    dead.chmod(0o755)

    for engine, remedy in ((str(dead), "start it"), ("", "install Docker or Podman")):
        told = subprocess.run(
            ["make", "image", f"ENGINE={engine}"],
            cwd=ROOT,
            env=PLAIN,
            capture_output=True,
            text=True,
        )
        assert told.returncode != 0
        assert remedy in told.stdout


def test_the_build_is_of_this_dockerfile_for_the_processor_of_gpu_nodes(tmp_path: Path) -> None:
    engine, log = tmp_path / "docker", tmp_path / "log"
    engine.write_text(f'#!/bin/sh\necho "$PWD: $*" >>{log}\n', encoding="utf-8")
    engine.chmod(0o755)

    ask = ["make", "image", f"ENGINE={engine}", "IMAGE=w:1"]
    subprocess.run(ask, cwd=ROOT, env=PLAIN, check=True)

    _, built = log.read_text(encoding="utf-8").splitlines()
    expected = "build --platform linux/amd64 --file gpu_node/Dockerfile --tag w:1 ."
    assert " ".join(built.split()) == f"{ROOT}: {expected}"
