"""``rapido timetable``: what a school announces, so that its avatars are there when it begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.table import Table

from ops.terminal import Json, console, print_fault, print_result, tell

timetable = typer.Typer(
    help="The timetable of your tenant, whose key you show: classes that are announced.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Url = Annotated[str | None, typer.Option(help="A cell's address; else RAPIDO_URL, or the one up.")]
Key = Annotated[str | None, typer.Option(help="Your key; else RAPIDO_KEY, or that of the one up.")]
Zone = Annotated[
    str | None, typer.Option("--timezone", help="Of times that name none, as Europe/Berlin.")
]
Begin = Annotated[str | None, typer.Option("--from", help="RFC 3339, or a day.")]
End = Annotated[str | None, typer.Option("--to", help="RFC 3339, or a day.")]


@contextmanager
def _faults() -> Iterator[None]:
    """What a user can mend is told in its own words, exit 1."""
    from ops.timetable.reading import FileError
    from ops.timetable.sending import Refused

    try:
        yield
    except (FileError, Refused) as error:
        print_fault(error)
        raise typer.Exit(1) from None


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise typer.BadParameter(
            f"{name!r} is no time zone; write one as Europe/Berlin", param_hint="--timezone"
        ) from None


def _moment(text: str | None, option: str) -> str | None:
    """As the API takes it; a day is its midnight, UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2027-01-31T09:00+01:00, or 2027-01-31",
            param_hint=option,
        ) from None
    if moment.tzinfo is None and len(text) > len("2027-01-31"):
        raise typer.BadParameter(
            f"{text!r} has no offset; write {text}+01:00, or {text}Z for UTC", param_hint=option
        )
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@timetable.command("import")
def timetable_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="FILE.csv or FILE.ics")],
    zone: Zone = None,
    weeks: Annotated[
        int, typer.Option(min=1, max=52, help=".ics: how far recurring events are unrolled.")
    ] = 8,
    expected: Annotated[
        int | None, typer.Option(min=1, help=".ics: learners of events that do not say how many.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Announce the others where some are bad.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file; send nothing.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Announce the classes of a CSV or iCalendar file, or change them: again is the same.

    Nothing is sent if any line is bad; each is told with its number. A CSV file has a header:

        class_id,start,duration_minutes,expected,regions,hold,hold_minutes
        math-7b-0131,2027-01-31T09:00+01:00,45,24,eu-central-1,20,10

    regions (us-east-1:0.6;eu-central-1:0.4), hold and hold_minutes may be left out. Of an
    iCalendar file every meeting is a class: UID is its id, with the planned time where it recurs;
    ATTENDEEs are counted, or X-RAPIDO-EXPECTED says how many.

        rapido timetable import autumn.csv --timezone Europe/Berlin --dry-run
        rapido timetable import school.ics --weeks 4 --expected 25
    """
    from ops.client import connect
    from ops.timetable.reading import checked, told
    from ops.timetable.sending import send

    now = datetime.now(UTC)
    with _faults():
        reading = checked(_read(file, _zone(zone), now, weeks, expected), now)
        for line in reading.notes:
            _say(line, as_json)
        for line in told(reading.bad):
            print_fault(Exception(line))
        if reading.bad and not skip_bad:
            print_fault(Exception("nothing was sent; correct the file, or give --skip-bad"))
            raise typer.Exit(1)
        result: dict[str, Any] = {"classes": len(reading.rows), "bad": len(reading.bad)}
        if dry_run:
            if not as_json:
                _show([row.body for row in reading.rows])
            shown = {"would_announce": [row.body for row in reading.rows]} if as_json else {}
            print_result({**result, **shown}, as_json)
            return
        if reading.rows:
            with connect(url, key) as client:
                result |= send(client, reading.rows, lambda line: _say(line, as_json))
        print_result(result, as_json)


def _read(
    file: Path, zone: ZoneInfo | None, now: datetime, weeks: int, expected: int | None
) -> Any:
    from ops.timetable.csv_file import read_csv
    from ops.timetable.ical_file import read_ical

    kind = file.suffix.lower()
    if kind == ".csv":
        return read_csv(file, zone)
    if kind in (".ics", ".ical"):
        return read_ical(file, zone, now, weeks, expected)
    raise typer.BadParameter(f"{file.name} is neither .csv nor .ics", param_hint="FILE")


def _say(line: str, as_json: bool) -> None:
    if not as_json:
        tell(line)


@timetable.command("show")
def timetable_show(
    begin: Begin = None, end: End = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """The classes that begin in a time: from now on, if no --from is given.

    rapido timetable show --from 2027-02-01 --to 2027-02-08
    """
    from ops.client import connect
    from ops.timetable.sending import classes

    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    query = {"from": _moment(begin, "--from") or now}
    if (until := _moment(end, "--to")) is not None:
        query["to"] = until
    with connect(url, key) as client:
        found = list(classes(client, query))
    if as_json:
        print_result({"classes": found}, True)
    else:
        _show(found)


def _show(found: list[dict[str, Any]]) -> None:
    table = Table("class", "start (UTC)", "minutes", "expected", "regions", "held")
    for one in found:
        shares = ", ".join(f"{name} {share:g}" for name, share in one.get("regions", {}).items())
        held = f"{one['hold']} for {one.get('hold_minutes') or 10} min" if one.get("hold") else ""
        table.add_row(
            one["class_id"],
            one["start"].removesuffix("Z").replace("T", " "),
            str(one["duration_minutes"]),
            str(one["expected"]),
            shares,
            held,
        )
    console.print(table)


@timetable.command("remove")
def timetable_remove(
    class_ids: Annotated[list[str] | None, typer.Argument(help="Their ids.")] = None,
    begin: Begin = None,
    end: End = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Remove classes by their ids, or all that begin between --from and --to. Again is the same.

    rapido timetable remove math-7b-0131
    rapido timetable remove --from 2027-02-08 --to 2027-02-15
    """
    from ops.client import connect
    from ops.timetable.sending import PATH

    span = (_moment(begin, "--from"), _moment(end, "--to"))
    if bool(class_ids) == any(span) or (any(span) and not all(span)):
        raise typer.BadParameter("give ids, or both --from and --to")
    with connect(url, key) as client:
        for class_id in class_ids or ():
            client.call("DELETE", f"{PATH}/{quote(class_id, safe='')}")
        if all(span):
            client.call("DELETE", PATH, query={"from": str(span[0]), "to": str(span[1])})
