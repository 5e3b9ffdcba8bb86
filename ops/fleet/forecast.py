"""A forecast as a person reads it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rich.table import Table


def forecast_table(told: dict[str, Any]) -> Table | str:
    """A line each step, or a sentence where there is no plan yet."""
    if told["at"] is None:
        return "Nothing was planned yet: the planner runs each minute in a cell that has pools."
    at = datetime.fromisoformat(told["at"])
    begin = at - timedelta(seconds=at.timestamp() % told["step_s"])
    table = Table("from (UTC)", "expected", "planned for")
    for number, (mean, high) in enumerate(zip(told["mean"], told["high"], strict=True)):
        start = begin + timedelta(seconds=number * told["step_s"])
        table.add_row(f"{start:%H:%M}", f"{mean:.1f}", f"{high:.1f}")
    return table


def quality_line(told: dict[str, Any]) -> str:
    """One sentence."""
    quality = told["quality"]
    if quality is None:
        return f"In the last {told['days']} days nothing was foreseen that came to be yet."
    ratio = "" if quality["ratio"] is None else f", {quality['ratio']:.2f} of that"
    return (
        f"15 minutes ahead, {quality['bins']} times in {told['days']} days: off by "
        f"{quality['forecast_error']:.2f} sessions on average of {quality['sessions']:.1f}; taking "
        f"the present for the future is off by {quality['persistence_error']:.2f}{ratio}."
    )
