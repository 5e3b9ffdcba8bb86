"""Classes to a cell, a thousand a call, and a page of them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from control.contracts.timetable import MOST_CLASSES
from ops.client import CallError, CellClient
from ops.timetable.reading import Row, at

PATH = "/api/v1/timetable"
_BODY_BYTES = 400_000


class Refused(Exception):
    """The cell took no class of one call; the message names lines, and what was taken before."""


def send(client: CellClient, rows: Sequence[Row], say: Callable[[str], None]) -> dict[str, int]:
    """What was taken, in sum. Raises Refused, CallError."""
    sums = {"taken": 0, "changed": 0, "unchanged": 0}
    for batch in batches(rows):
        try:
            answer = client.call("PUT", PATH, {"classes": [row.body for row in batch]})
        except CallError as error:
            raise Refused(_words(error, batch, sums["taken"], len(rows))) from error
        for name in sums:
            sums[name] += int(answer[name])
        if sums["taken"] < len(rows):
            say(f"{sums['taken']} of {len(rows)} classes taken")
    return sums


def batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Each is one call: by number, and by what a body may have."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        grown = len(str(row.body).encode())
        if batch and (len(batch) == MOST_CLASSES or size + grown > _BODY_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += grown
    if batch:
        yield batch


def _words(error: CallError, batch: Sequence[Row], taken: int, of: int) -> str:
    lines = []
    for fault in error.problem.get("errors", ()):
        index, name = at(fault["field"])
        where = batch[index].where if name != fault["field"] else "the call"
        lines.append(f"{where}: {name} {fault['fault']}: {fault['remedy']}")
    said = "\n".join(lines[:50]) or str(error)
    before = f"{taken} of {of} classes were taken before; " if taken else ""
    return f"{said}\n{before}correct it and import the file again: again is the same"


def classes(client: CellClient, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    """All of them, page after page. Raises CallError."""
    while True:
        page = client.call("GET", PATH, query=query)
        yield from page["classes"]
        if not page["cursor"]:
            return
        query = {**query, "cursor": page["cursor"]}
