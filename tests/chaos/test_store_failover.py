"""The primary of a real cluster is killed under load; a minute later all is as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.failover import run

pytestmark = pytest.mark.alone


def test_after_the_primarys_death_nothing_is_oversold_leaked_or_forgotten(tmp_path: Path) -> None:
    outcome = run(tmp_path)

    assert outcome.placed > 0
    assert outcome.oversold == 0
    assert outcome.leaked == 0
    assert outcome.unleased == 0
    assert outcome.repeated == 0
