"""Pictures of simulated weeks: slots against demand, and policies beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ops.simulate.fleet.trial import Week

_DAYS = "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"
_ON_DEMAND, _SPOT, _EMPTYING, _DEMAND = "#3b6ea8", "#e0a13a", "#c9c9c9", "#b02e26"


def slots(week: Week, title: str, path: Path, days: tuple[float, float] = (0.0, 7.0)) -> None:
    """A panel a region: stacked slots, sessions in front; ``days`` of the judged seven."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    regions = week.tally.series
    figure, panels = plt.subplots(len(regions), 1, figsize=(13, 3.1 * len(regions)), squeeze=False)
    for panel, (region, rows) in zip(panels[:, 0], regions.items(), strict=True):
        end_s = rows[-1][0]
        monday_s = end_s - end_s % 86_400 - 6 * 86_400 if len(rows) > 288 else rows[0][0]
        seen = [row for row in rows if days[0] <= (row[0] - monday_s) / 86_400 <= days[1]]
        at = [(row[0] - monday_s) / 86_400 for row in seen]
        on_demand, spot, emptying = ([row[i] for row in seen] for i in (3, 4, 5))
        panel.stackplot(
            at, on_demand, spot, emptying, step="post", colors=(_ON_DEMAND, _SPOT, _EMPTYING),
            labels=("slots on demand", "slots of spot", "emptying"),
        )  # fmt: skip
        panel.plot(at, [row[1] for row in seen], color=_DEMAND, linewidth=1.0, label="sessions")
        panel.set_title(region, loc="left", fontsize=10)
        panel.set_xlim(days)
        if days[1] - days[0] > 2:
            panel.set_xticks(range(7), _DAYS)
        else:
            hours = [days[0] + n / 8 for n in range(round((days[1] - days[0]) * 8) + 1)]
            panel.set_xticks(hours, [f"{round(h * 24) % 24}:00" for h in hours])
        panel.grid(alpha=0.3)
    panels[0, 0].legend(loc="upper right", fontsize=8, ncols=4)
    figure.suptitle(title, x=0.01, ha="left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def policies(weeks: Mapping[str, Week], bounds_usd: Mapping[str, float], path: Path) -> None:
    """What each policy cost and did; of ``bounds_usd`` only the dollars are known."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [*weeks, *bounds_usd]
    rows = {
        "$ a week": [w.tally.usd for w in weeks.values()] + list(bounds_usd.values()),
        "rejected %": [w.rejected_percent for w in weeks.values()],
        "wait p99.9 s": [w.tally.wait_p999_s() for w in weeks.values()],
        "interrupted %": [w.interrupted_percent for w in weeks.values()],
    }
    figure, panels = plt.subplots(1, len(rows), figsize=(15, 0.7 + 0.45 * len(names)), sharey=True)
    for panel, (what, values) in zip(panels, rows.items(), strict=True):
        bars = panel.barh(names[: len(values)], values, color=_ON_DEMAND)
        panel.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
        panel.set_title(what, loc="left", fontsize=10)
        panel.margins(x=0.2)
        panel.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
