"""Classes out of CSV and iCalendar files, and every way in which one is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ops.timetable.csv_file import read_csv
from ops.timetable.ical_file import read_ical
from ops.timetable.reading import FileError, Reading, checked

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2027, 3, 10, 12, tzinfo=UTC)
HEADER = "class_id,start,duration_minutes,expected,regions,hold,hold_minutes\n"


def csv(tmp_path: Path, text: str, zone: ZoneInfo | None = None) -> Reading:
    path = tmp_path / "classes.csv"
    path.write_bytes(text.encode())
    return checked(read_csv(path, zone), NOW)


def only_fault(tmp_path: Path, line: str, zone: ZoneInfo | None = None) -> str:
    reading = csv(tmp_path, HEADER + line, zone)
    assert reading.rows == []
    (bad,) = reading.bad
    assert bad.where == "line 2"
    return bad.fault


# CSV


def test_a_line_is_a_class_as_the_api_takes_it(tmp_path: Path) -> None:
    line = "math-7b,2027-03-15T09:00+01:00,45,24,us-east-1:0.6;eu-central-1:0.4,20,15\n"

    (row,) = csv(tmp_path, HEADER + line).rows

    assert row.body == {
        "class_id": "math-7b",
        "start": "2027-03-15T08:00:00Z",
        "duration_minutes": 45,
        "expected": 24,
        "regions": {"us-east-1": 0.6, "eu-central-1": 0.4},
        "hold": 20,
        "hold_minutes": 15,
    }


def test_what_is_not_needed_may_be_empty_or_have_no_column(tmp_path: Path) -> None:
    short = "start,class_id,expected,duration_minutes\n2027-03-15T09:00Z,math,24,45\n"

    assert csv(tmp_path, short).rows[0].body["expected"] == 24
    assert "hold" not in csv(tmp_path, HEADER + "a,2027-03-15T09:00Z,45,24,,,\n").rows[0].body


def test_excels_byte_order_mark_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeff" + HEADER + "\n,,,,,,\nmath,2027-03-15T09:00Z,45,24,,,\n"

    assert [row.where for row in csv(tmp_path, text).rows] == ["line 4"]


def test_a_time_without_an_offset_is_of_the_zone_that_is_given(tmp_path: Path) -> None:
    line = "math,2027-03-15T09:00,45,24,,,\n"

    assert csv(tmp_path, HEADER + line, BERLIN).rows[0].body["start"] == "2027-03-15T08:00:00Z"
    assert "give --timezone" in only_fault(tmp_path, line)


def test_nine_oclock_stays_nine_oclock_across_the_change_of_the_clocks(tmp_path: Path) -> None:
    lines = "".join(f"math-{day},2027-03-{day}T09:00,45,24,,,\n" for day in (26, 29))

    starts = [row.body["start"] for row in csv(tmp_path, HEADER + lines, BERLIN).rows]

    assert starts == ["2027-03-26T08:00:00Z", "2027-03-29T07:00:00Z"]


def test_an_hour_that_the_clocks_leave_out_or_have_twice_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in only_fault(tmp_path, "a,2027-03-28T02:30,45,24,,,\n", BERLIN)
    assert "is there twice" in only_fault(tmp_path, "a,2027-10-31T02:30,45,24,,,\n", BERLIN)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("math,tomorrow,45,24,,,", "start 'tomorrow' is no time"),
        ("math,2027-03-15,45,24,,,", "start '2027-03-15' is no time"),
        ("math,2027-03-15T09:00Z,45,many,,,", "expected 'many' is no whole number"),
        ("math,2027-03-15T09:00Z,45,-3,,,", "expected '-3' is no whole number"),
        ("math,2027-03-15T09:00Z,45,1000000,,,", "expected Input should be less than or equal"),
        ("math,2027-03-15T09:00Z,45,0,,,", "expected Input should be greater than or equal to 1"),
        ("math,2027-03-15T09:00Z,0,24,,,", "duration_minutes Input should be greater"),
        ("math,2027-03-15T09:00Z,2880,24,,,", "duration_minutes Input should be less"),
        (",2027-03-15T09:00Z,45,24,,,", "class_id is empty"),
        ("a/b,2027-03-15T09:00Z,45,24,,,", "class_id String should match"),
        ("math,2027-03-15T09:00Z,45", "has 3 fields, the header 7"),
        ("math,2026-03-15T09:00Z,45,24,,,", "start is past: the class ended at 2026-03-15"),
        ("math,2029-03-15T09:00Z,45,24,,,", "start is more than a year ahead"),
        ("math,2027-03-15T09:00Z,45,24,moon-east-1,,", "regions.moon-east-1"),
        ("math,2027-03-15T09:00Z,45,24,us-moon-1,,", "regions.us-moon-1 has no cell"),
        ("math,2027-03-15T09:00Z,45,24,us-east-1:0.5,,", "regions has shares that sum to 0.5"),
        ("math,2027-03-15T09:00Z,45,24,us-east-1:half,,", "is not REGION:SHARE"),
        ("math,2027-03-15T09:00Z,45,24,,30,", "hold is more than the 24 expected"),
        ("math,2027-03-15T09:00Z,45,24,,,10", "hold_minutes is there without hold"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_what_is_wrong(
    tmp_path: Path, line: str, words: str
) -> None:
    assert words in only_fault(tmp_path, line + "\n")


def test_a_class_id_twice_in_a_file_names_both_lines(tmp_path: Path) -> None:
    lines = "math,2027-03-15T09:00Z,45,24,,,\nmath,2027-03-15T09:30Z,45,24,,,\n"

    reading = csv(tmp_path, HEADER + lines)

    assert [str(one)[:70] for one in reading.bad] == [
        "line 3: class_id is that of line 2 too, and they overlap: give every m"
    ]
    assert [row.where for row in reading.rows] == ["line 2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the header lacks class_id, start"),
        ("class_id,start,expected\n", "lacks duration_minutes"),
        (HEADER.replace("hold,", "holt,"), "has 'holt', not known here"),
        ("class_id;start;duration_minutes;expected\n", "semicolons"),
        (HEADER, "has no class"),
        (HEADER + 'a,"2027', "is a quote not closed"),
    ],
)
def test_a_file_that_is_no_timetable_says_why(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FileError, match=words):
        csv(tmp_path, text)


def test_a_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes((HEADER + "Französisch").encode("latin-1"))

    with pytest.raises(FileError, match="not UTF-8"):
        read_csv(path, None)


# iCalendar


def event(*lines: str, uid: str = "math@school", summary: str = "Algebra") -> str:
    said = "\r\n".join(lines)
    return f"BEGIN:VEVENT\r\nUID:{uid}\r\nSUMMARY:{summary}\r\n{said}\r\nEND:VEVENT\r\n"


WEEKLY = event(
    "DTSTART;TZID=Europe/Berlin:20270315T090000",
    "DTEND;TZID=Europe/Berlin:20270315T094500",
    "RRULE:FREQ=WEEKLY",
    "X-RAPIDO-EXPECTED:24",
    "X-RAPIDO-HOLD:20",
    "X-RAPIDO-HOLD-MINUTES:5",
    "X-RAPIDO-REGIONS:us-east-1:0.6;eu-central-1:0.4",
)
AT_NINE = "DTSTART:20270315T080000Z"


def ical(
    tmp_path: Path,
    *events: str,
    zone: ZoneInfo | None = None,
    weeks: int = 4,
    expected: int | None = None,
) -> Reading:
    path = tmp_path / "classes.ics"
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:school\r\n"
    path.write_bytes((head + "".join(events) + "END:VCALENDAR\r\n").encode())
    return checked(read_ical(path, zone, NOW, weeks, expected), NOW)


def test_a_weekly_event_is_at_nine_local_on_both_sides_of_the_change_of_the_clocks(
    tmp_path: Path,
) -> None:
    reading = ical(tmp_path, WEEKLY)

    assert reading.bad == []
    starts = [str(row.body["start"]) for row in reading.rows]
    assert starts == [
        "2027-03-15T08:00:00Z",
        "2027-03-22T08:00:00Z",
        "2027-03-29T07:00:00Z",
        "2027-04-05T07:00:00Z",
    ]
    local = {datetime.fromisoformat(one).astimezone(BERLIN).hour for one in starts}
    assert local == {9}
    assert {row.body["duration_minutes"] for row in reading.rows} == {45}


def test_every_meeting_is_a_class_of_its_own_with_what_the_series_says(tmp_path: Path) -> None:
    first = ical(tmp_path, WEEKLY).rows[0].body

    assert first["class_id"] == "math@school_20270315T0800Z"
    assert (first["expected"], first["hold"], first["hold_minutes"]) == (24, 20, 5)
    assert first["regions"] == {"us-east-1": 0.6, "eu-central-1": 0.4}


def test_a_meeting_that_is_moved_keeps_its_id_and_one_that_is_cancelled_is_none(
    tmp_path: Path,
) -> None:
    moved = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20270322T090000",
        "DTSTART;TZID=Europe/Berlin:20270322T140000",
        "DURATION:PT45M",
    )
    cancelled = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20270329T090000",
        "DTSTART;TZID=Europe/Berlin:20270329T090000",
        "DURATION:PT45M",
        "STATUS:CANCELLED",
    )

    rows = ical(tmp_path, WEEKLY, moved, cancelled).rows

    assert [(row.body["class_id"][-14:], row.body["start"]) for row in rows] == [
        ("20270315T0800Z", "2027-03-15T08:00:00Z"),
        ("20270322T0800Z", "2027-03-22T13:00:00Z"),
        ("20270405T0700Z", "2027-04-05T07:00:00Z"),
    ]
    assert rows[1].body["expected"] == 24


def test_a_series_without_end_is_unrolled_for_as_many_weeks_as_asked(tmp_path: Path) -> None:
    assert len(ical(tmp_path, WEEKLY, weeks=10).rows) == 10


def test_an_event_that_does_not_recur_has_its_uid_for_an_id(tmp_path: Path) -> None:
    guests = ("ATTENDEE:mailto:anna@example.com", "ATTENDEE:mailto:ben@example.com")

    (row,) = ical(tmp_path, event(AT_NINE, "DURATION:PT30M", *guests, uid="a/b?c#d")).rows

    assert (row.body["class_id"], row.body["expected"]) == ("a_b_c_d", 2)


def test_how_many_come_may_be_said_for_all_events_that_do_not_say_it(tmp_path: Path) -> None:
    bare = event(AT_NINE, "DURATION:PT30M")

    assert ical(tmp_path, bare, expected=12).rows[0].body["expected"] == 12
    assert "does not say how many come" in ical(tmp_path, bare).bad[0].fault


def test_a_time_without_a_zone_is_of_the_zone_that_is_given(tmp_path: Path) -> None:
    floating = event("DTSTART:20270315T090000", "DURATION:PT30M", "X-RAPIDO-EXPECTED:9")

    (row,) = ical(tmp_path, floating, zone=BERLIN).rows

    assert row.body["start"] == "2027-03-15T08:00:00Z"
    assert "give --timezone" in ical(tmp_path, floating).bad[0].fault


def test_an_event_of_another_time_is_named_and_not_sent(tmp_path: Path) -> None:
    old = event("DTSTART:20260315T080000Z", "DURATION:PT30M", "X-RAPIDO-EXPECTED:9")

    reading = ical(tmp_path, old)

    assert (reading.rows, reading.bad) == ([], [])
    assert reading.notes == ["event 'Algebra': no meeting within 4 weeks from now"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("DTSTART;VALUE=DATE:20270315",), "lasts all day"),
        ((AT_NINE,), "has no end"),
        (("DTEND:20270315T084500Z",), "has no DTSTART"),
        (("DTSTART:soon", "DURATION:PT30M"), "DTSTART cannot be read"),
        ((AT_NINE, "DURATION:PT30M", "RRULE:FREQ=NEVER"), "RRULE cannot be read"),
        ((AT_NINE, "DURATION:PT30M", "RRULE:FREQ=SECONDLY"), "recurs SECONDLY"),
        ((AT_NINE, "DURATION:PT30M", "X-RAPIDO-EXPECTED:all"), "'all' is no whole number"),
        ((AT_NINE, "DURATION:P3D", "X-RAPIDO-EXPECTED:9"), "duration_minutes Input should be"),
        ((AT_NINE, "DURATION:PT0S", "X-RAPIDO-EXPECTED:9"), "duration_minutes Input should be"),
    ],
)
def test_a_bad_event_is_named_with_what_is_wrong(
    tmp_path: Path, lines: tuple[str, ...], words: str
) -> None:
    good = event(AT_NINE, "DURATION:PT30M", "X-RAPIDO-EXPECTED:9", uid="art", summary="Art")

    reading = ical(tmp_path, event(*lines), good)

    assert [row.body["class_id"] for row in reading.rows] == ["art"]
    (bad,) = reading.bad
    assert bad.where.startswith("event 'Algebra'")
    assert words in bad.fault


@pytest.mark.parametrize("text", ["", "no calendar at all", "BEGIN:VCALENDAR\nBEGIN:VEVENT\n"])
def test_what_is_no_calendar_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "not.ics"
    path.write_text(text)

    with pytest.raises(FileError, match=r"is no iCalendar file|has no event"):
        read_ical(path, None, NOW, 8, None)
