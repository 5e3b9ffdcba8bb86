"""Where docs/architecture.md points, what it names stands."""

from __future__ import annotations

import re

from ops.cell.files import ROOT

_POINTER = re.compile(r"`([\w./-]+):(\d+)` `(\w+)`")


def test_every_pointer_meets_the_resource_that_it_names() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    pointers = _POINTER.findall(text)
    wrong = []
    for path, line, name in pointers:
        found = (ROOT / path).read_text().splitlines()
        at = [
            number for number, one in enumerate(found, 1) if re.match(rf"\s*(def )?{name}\b", one)
        ]
        if int(line) not in at:
            wrong.append(f"{path}:{line} is not {name}, which is at {at}")

    assert len(pointers) > 30
    assert wrong == []
