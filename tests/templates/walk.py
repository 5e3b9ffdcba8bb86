"""What a handler can come to call, by the program's text and the cell that bootstrap wires.

Every function that a reached one so much as mentions counts as reached, so nothing hides in a table
of callbacks or a thread. Ports are followed to the adapters that the real ``bootstrap.cell()`` gave
the cell in that function's own environment; classes made elsewhere are reached whole.
"""

from __future__ import annotations

from collections import deque
from types import FunctionType
from typing import Any

from tests.templates import source
from tests.templates.objects import Bound, Use, is_ours, plain
from tests.templates.reading import Reader, Wired


def walk(wired: Wired, *entries: Any) -> list[Use]:
    """What the entries, functions of ours, can come to ask AWS for; each with the way there.

    Raises source.WalkError where the text does not tell.
    """
    found: list[Use] = []
    start: list[tuple[Bound, tuple[str, ...]]] = [(Bound(plain(one)), ()) for one in entries]
    pending = deque(start)
    seen: set[tuple[FunctionType, int]] = set()
    while pending:
        bound, way = pending.popleft()
        key = (bound.function, id(bound.owner))
        definition = source.definition_of(bound.function) if is_ours(bound.function) else None
        if key in seen or definition is None:
            continue
        seen.add(key)
        here = (*way, bound.name)
        reader = Reader(wired, bound, definition)
        reader.visit(definition)
        found += [Use(one.action, one.where, here, one.arguments) for one in reader.uses]
        pending.extend((one, here) for one in reader.reached)
    return found
