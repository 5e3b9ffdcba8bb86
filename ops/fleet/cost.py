"""What the fleet cost, as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def cost_table(told: dict[str, Any]) -> Table:
    """A line a row, and their sum; cents a stream-minute, since it is a fraction of one."""
    table = Table(told["by"], "$", "stream-minutes", "cents a stream-minute", show_footer=True)
    for one in told["rows"]:
        table.add_row(one["name"], *_figures(one))
    for column, text in zip(table.columns, ("all cells", *_figures(told)), strict=True):
        column.footer = text
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _figures(one: dict[str, Any]) -> tuple[str, str, str]:
    each = one["usd_stream_minute"]
    cents = "-" if each is None else f"{100 * each:.3f}"
    return f"{one['usd']:,.2f}", f"{one['stream_minutes']:,.0f}", cents


def days_line(told: dict[str, Any]) -> str:
    """What the table is of."""
    days = told["first"] if told["first"] == told["last"] else f"{told['first']} to {told['last']}"
    rest = "; the cheapest are left out" if told["more"] else ""
    return f"{days}, UTC{rest}"


def saving_line(told: dict[str, Any]) -> str:
    """One sentence."""
    if told["saving_percent"] is None:
        return "No cell planned a fleet in these days, so there is nothing to compare with."
    word = "less" if told["saving_percent"] >= 0 else "more"
    return (
        f"{abs(told['saving_percent']):.1f} % {word} than the published policy, which would have "
        f"paid {told['published_usd']:,.2f} $ on the same demand."
    )
