"""Which tests go to one process, where several share them; given to pytest by ``-p``.

A folder with fixtures of its own stays together, and a file with a fixture for all its tests: what
costs something is made once. Every other test goes wherever there is time for it. (xdist's own mark
of groups is of no use: the pytest that is pinned here does not tell it on.)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

_ROOT = Path(__file__).parent


class Sharing(LoadScopeScheduling):
    """In the order in which tests are found: long ones begin before short ones fill up."""

    def _split_scope(self, nodeid: str) -> str:
        return home(nodeid)


def home(nodeid: str) -> str:
    """The name of what the test stays with: its folder, its file, or nothing but itself."""
    return _home(nodeid.partition("::")[0]) or nodeid


@cache
def _home(path: str) -> str:
    file = _ROOT.parent / path
    if file.parent.parent != _ROOT and (file.parent / "conftest.py").exists():
        return str(file.parent)
    return path if 'scope="module"' in file.read_text(encoding="utf-8") else ""


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Sharing:
    """See xdist: instead of the one that ``--dist`` names."""
    config.option.loadscopereorder = False
    return Sharing(config, log)
