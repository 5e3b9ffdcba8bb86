"""`rapido timetable`: what it checks and tells before and while it sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from typer.testing import CliRunner

from ops import cli
from ops.client import CallError
from ops.timetable.reading import Row
from ops.timetable.sending import Refused, batches, classes, send

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date()
HEADER = "class_id,start,duration_minutes,expected,regions\n"
GOOD = f"math,{TOMORROW}T09:00Z,45,24,\n"
BAD = f"art,{TOMORROW}T09:00Z,45,many,\n"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell is up, and none is named: whatever is sent fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("RAPIDO_URL", "RAPIDO_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str, text: str = HEADER + GOOD, name: str = "classes.csv") -> Any:
    Path(name).write_text(text)
    return CliRunner().invoke(cli.app, ["timetable", "import", name, *words])


def test_a_dry_run_shows_what_it_would_announce_and_sends_nothing() -> None:
    told = run("--dry-run", "--json")

    assert told.exit_code == 0
    shown = json.loads(told.stdout)
    assert (shown["classes"], shown["bad"]) == (1, 0)
    assert shown["would_announce"][0]["start"] == f"{TOMORROW}T09:00:00Z"
    assert "math" in run("--dry-run").output


def test_nothing_is_sent_if_any_line_is_bad_and_each_is_told() -> None:
    told = run(text=HEADER + GOOD + BAD + BAD.replace("art", "music"))

    assert told.exit_code == 1
    assert "line 3: expected 'many' is no whole number" in told.output
    assert "line 4: expected 'many'" in told.output
    assert "nothing was sent" in told.output


def test_the_bad_may_be_skipped() -> None:
    told = run("--skip-bad", "--dry-run", text=HEADER + GOOD + BAD)

    assert told.exit_code == 0
    assert "line 3: expected" in told.output
    assert "classes        1" in told.output


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        (("--timezone", "Mars/Olympus"), "classes.csv", "'Mars/Olympus' is no time zone"),
        ((), "classes.xlsx", "neither .csv nor .ics"),
        (("--weeks", "0"), "classes.ics", "--weeks"),
    ],
)
def test_a_wrong_use_is_told_with_exit_2(words: tuple[str, ...], name: str, said: str) -> None:
    told = run(*words, name=name)

    assert told.exit_code == 2
    assert said in click.unstyle(told.output)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give ids, or both --from and --to"),
        (("--from", "2027-01-01"), "give ids, or both --from and --to"),
        (("math", "--from", "2027-01-01", "--to", "2027-02-01"), "give ids, or both"),
        (("--from", "2027-01-01T09:00", "--to", "2027-02-01"), "has no offset"),
        (("--from", "soon", "--to", "2027-02-01"), "'soon' is no time"),
    ],
)
def test_what_to_remove_must_be_clear(words: tuple[str, ...], said: str) -> None:
    told = CliRunner().invoke(cli.app, ["timetable", "remove", *words])

    assert told.exit_code == 2
    assert said in click.unstyle(told.output)


@pytest.mark.parametrize("command", ["import", "show", "remove"])
def test_help_teaches_by_example(command: str) -> None:
    told = CliRunner().invoke(cli.app, ["timetable", command, "--help"])

    assert f"rapido timetable {command} " in click.unstyle(told.output)


class Client:
    """Takes the first ``takes`` calls and refuses the next; pages of ``pages``."""

    def __init__(self, takes: int = 99, pages: int = 1) -> None:
        self.takes, self.pages = takes, pages
        self.sent: list[int] = []

    def call(
        self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        if method == "GET":
            page = int((query or {}).get("cursor", "0"))
            more = str(page + 1) if page + 1 < self.pages else None
            return {"classes": [{"class_id": f"c{page}"}], "cursor": more}
        if len(self.sent) == self.takes:
            fault = {"field": "classes.1.start", "fault": "is past", "remedy": "leave it out"}
            raise CallError(422, {"title": "No", "errors": [fault]})
        count = len(body["classes"])
        self.sent.append(count)
        return {"taken": count, "changed": count - 1, "unchanged": 1}


def rows(count: int, length: int = 1) -> list[Row]:
    return [Row(f"line {n + 2}", {"class_id": "x" * length}) for n in range(count)]


def test_many_classes_are_sent_a_thousand_at_a_time_and_progress_is_told() -> None:
    client: Any = Client()
    said: list[str] = []

    sums = send(client, rows(2500), said.append)

    assert client.sent == [1000, 1000, 500]
    assert sums == {"taken": 2500, "changed": 2497, "unchanged": 3}
    assert said == ["1000 of 2500 classes taken", "2000 of 2500 classes taken"]


def test_a_call_is_no_longer_than_a_body_may_be() -> None:
    made = list(batches(rows(1000, 600)))

    assert sum(len(batch) for batch in made) == 1000
    assert all(len(str([row.body for row in batch])) < 512 * 1024 for batch in made)
    assert len(made) > 1


def test_what_the_cell_refuses_is_named_by_line_with_what_was_taken_before() -> None:
    client: Any = Client(takes=1)

    with pytest.raises(Refused) as told:
        send(client, rows(1200), lambda line: None)

    assert "line 1003: start is past: leave it out" in str(told.value)
    assert "1000 of 1200 classes were taken before" in str(told.value)


def test_all_pages_are_shown() -> None:
    client: Any = Client(pages=3)

    assert [one["class_id"] for one in classes(client, {})] == ["c0", "c1", "c2"]
