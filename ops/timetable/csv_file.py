"""Classes out of a CSV file, one a line under a header."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ops.timetable.reading import Bad, FileError, Reading, Row, in_zone, iso, shares_of, whole

NEEDED = ("class_id", "start", "duration_minutes", "expected")
MORE = ("regions", "hold", "hold_minutes")


def read_csv(path: Path, zone: ZoneInfo | None) -> Reading:
    """Raises FileError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{path} is not UTF-8; save it as CSV UTF-8") from None
    lines = csv.reader(text.splitlines(), strict=True)
    reading = Reading()
    try:
        header = _header(next(lines, []), path)
        for cells in lines:
            where = f"line {lines.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            try:
                reading.rows.append(Row(where, _body(header, cells, zone)))
            except ValueError as error:
                reading.bad.append(Bad(where, str(error)))
    except csv.Error as error:
        raise FileError(f"{path}, line {lines.line_num}: {error}; is a quote not closed?") from None
    if not reading.rows and not reading.bad:
        raise FileError(f"{path} has no class under its header")
    return reading


def _header(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) == 1 and ";" in names[0]:
        raise FileError(f"{path} is separated by semicolons; save it with commas")
    missing = [name for name in NEEDED if name not in names]
    strange = [name for name in names if name not in (*NEEDED, *MORE)]
    if missing or strange or len(set(names)) != len(names):
        faults = [f"lacks {', '.join(missing)}"] if missing else []
        faults += [f"has {', '.join(map(repr, strange))}, not known here"] if strange else []
        faults = faults or ["names a column twice"]
        raise FileError(
            f"{path}, line 1: the header {' and '.join(faults)}; "
            f"it is {','.join(NEEDED)}, and if you like {','.join(MORE)}"
        )
    return names


def _body(header: list[str], cells: list[str], zone: ZoneInfo | None) -> dict[str, Any]:
    if len(cells) != len(header):
        raise ValueError(f"has {len(cells)} fields, the header {len(header)}")
    given = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    if empty := [name for name in NEEDED if not given[name]]:
        raise ValueError(f"{', '.join(empty)} is empty")
    body: dict[str, Any] = {
        "class_id": given["class_id"],
        "start": _start(given["start"], zone),
        "duration_minutes": whole("duration_minutes", given["duration_minutes"]),
        "expected": whole("expected", given["expected"]),
    }
    if regions := given.get("regions"):
        body["regions"] = shares_of(regions)
    for name in ("hold", "hold_minutes"):
        if value := given.get(name):
            body[name] = whole(name, value)
    return body


def _start(text: str, zone: ZoneInfo | None) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or len(text) < len("2027-01-31T09:00"):
        raise ValueError(f"start {text!r} is no time; write 2027-01-31T09:00+01:00")
    try:
        return iso(in_zone(moment, zone))
    except ValueError as error:
        raise ValueError(f"start {text!r} {error}") from None
