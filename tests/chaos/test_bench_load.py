"""The quick form of ``rapido bench load``: many clients, a worker killed, a cell cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.load import load

pytestmark = pytest.mark.alone


def test_every_client_is_served_or_told_why(tmp_path: Path) -> None:
    figures = load(tmp_path, True, print)

    for name in ("lessons_untold", "oversold", "leases_left"):
        assert figures[name].holds, figures[name]
    assert (tmp_path / "load.json").exists()
