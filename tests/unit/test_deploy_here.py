"""This machine's part of a deploy: the package that make builds, and HTTPS."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ops.deploy import here
from ops.deploy.facts import BuildError
from ops.deploy.here import Https, Make


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the PATH; nothing is in it yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _make(tools: Path, script: str) -> None:
    (tools / "make").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "make").chmod(0o755)


def test_a_checkout_on_a_machine_with_make_lacks_nothing(tools: Path) -> None:
    _make(tools, "exit 0")

    assert Make().missing() == []


def test_a_machine_without_make_is_told_how_to_get_it(tools: Path) -> None:
    assert Make().missing() == [("make is not on the PATH", "install it (apt-get install make)")]


def test_a_build_that_fails_is_told_with_its_last_words(tools: Path) -> None:
    _make(tools, 'echo "uv: no wheel of cryptography for Lambda" >&2; exit 2')

    with pytest.raises(BuildError, match="no wheel of cryptography"):
        Make().build()


def test_a_build_is_the_template_that_sam_wrote(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tools / "template.yaml"
    monkeypatch.setattr(here, "BUILT", built)
    _make(tools, f'test "$2" = package && : > {built}')

    assert Make().build() == built


def test_an_address_that_does_not_answer_is_no_exception() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        answer = Https().call("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/health/ready")

    assert answer.status == 0
    assert "ConnectError" in answer.body
