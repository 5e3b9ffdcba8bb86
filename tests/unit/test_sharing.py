"""Which tests stay together where processes share them."""

from __future__ import annotations

import pytest

from tests.sharing import home


@pytest.mark.parametrize(
    ("nodeid", "stays_with"),
    [
        ("tests/integration/package/test_handlers.py::test_x[A]", "tests/integration/package"),
        ("tests/integration/test_peers.py::test_x", "tests/integration/test_peers.py"),
        ("tests/unit/test_simulation.py::test_x[1]", "tests/unit/test_simulation.py::test_x[1]"),
    ],
)
def test_a_test_stays_with_its_folder_its_file_or_itself(nodeid: str, stays_with: str) -> None:
    assert home(nodeid).endswith(stays_with)
