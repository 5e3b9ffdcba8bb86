"""EventBridge's cron, as the local cell keeps it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ops.cell.cron import Cron, CronError

THURSDAY = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "expected"),
    [
        ("cron(30 7 * * ? *)", "UTC", "2026-11-27T07:30"),
        ("cron(0 12 * * ? *)", "UTC", "2026-11-27T12:00"),
        ("cron(0/15 * * * ? *)", "UTC", "2026-11-26T12:15"),
        ("cron(45 6 ? * MON-FRI *)", "UTC", "2026-11-27T06:45"),
        ("cron(0 7 ? * 2 *)", "UTC", "2026-11-30T07:00"),
        ("cron(0 0 1 JAN,jul ? *)", "UTC", "2027-01-01T00:00"),
        ("cron(0 8 29 2 ? *)", "UTC", "2028-02-29T08:00"),
        ("cron(30 7 * * ? *)", "Europe/Berlin", "2026-11-27T06:30"),
        # the clocks go forward at two on 28 March 2027
        ("cron(30 2 28 3 ? 2027-2028)", "Europe/Berlin", "2028-03-28T00:30"),
    ],
)
def test_the_next_time(expression: str, zone: str, expected: str) -> None:
    at = Cron.read(expression, zone).next_after(THURSDAY)
    assert at == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_past_year_never_comes() -> None:
    assert Cron.read("cron(0 8 * * ? 2020)").next_after(THURSDAY) is None


@pytest.mark.parametrize(
    "expression",
    ["rate(1 day)", "cron(0 8 * * ?)", "cron(0 8 L * ? *)", "cron(60 8 * * ? *)",
     "cron(0 8 ? * 6#3 *)", "cron(0/0 8 * * ? *)"],
)  # fmt: skip
def test_what_is_not_understood_is_said(expression: str) -> None:
    with pytest.raises(CronError):
        Cron.read(expression)


def test_an_unknown_zone_is_said() -> None:
    with pytest.raises(CronError, match="Mars"):
        Cron.read("cron(0 8 * * ? *)", "Mars")
