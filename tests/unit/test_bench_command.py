"""`rapido bench`: its help and its benches are one table."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ops.bench import BENCHES, find
from ops.cli import app


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_is_there_and_in_the_help(name: str) -> None:
    helped = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "200"})

    assert find(name).__name__ == name
    assert name in helped.output


def test_an_unknown_bench_is_told_the_known_ones() -> None:
    refused = CliRunner().invoke(app, ["bench", "nope"], env={"COLUMNS": "200"})

    assert refused.exit_code == 2
    assert "nope: not a bench; there is control, placement, load, engine, stream" in refused.output
