"""How the deployer's commands show what they found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.deploy.checks import Checked
from ops.deploy.deployment import Failure, Report
from ops.deploy.estimate import Estimate
from ops.deploy.limits import Level
from ops.deploy.plan import Row
from ops.deploy.settings import Wanted
from ops.deploy.status import CellStatus, EdgeStatus


def checked(found: Checked, screen: Console) -> None:
    """What is missing first, each with its remedy on a line of its own."""
    if found.identity is not None:
        say(screen, f"account {found.identity.account} as {found.identity.arn}")
    if found.zone is not None:
        say(screen, f"hosted zone {found.zone.domain} ({found.zone.id})")
    for level, style in ((Level.MISSING, "red"), (Level.NOTE, "yellow")):
        for one in found.findings:
            if one.level is level:
                say(screen, f"{level.value:<8} {one.what}", style)
                say(screen, f"         {one.remedy}")
    say(screen, f"{len(found.missing)} missing" if found.missing else "nothing is missing")


def steps(wanted: Wanted, screen: Console) -> None:
    """What a deploy does, in its order."""
    own = wanted.livekit is not None and wanted.livekit.own
    each = ["bucket and image repository", "package", f"avatars {', '.join(wanted.avatars)}"]
    each += ["LiveKit's servers"] if own else []
    told = [
        "build the functions' package, once",
        f"{wanted.home}: the bucket and in it the lock of stage {wanted.stage}",
        f"the edge's secret, made or found, in {', '.join(wanted.regions)}",
    ]
    for region in wanted.regions:
        last = ", then its tables" if region == wanted.home else ""
        told.append(f"{region}: {', '.join(each)}, the cell by a change set{last}")
    told += ["us-east-1: the edge, CloudFront and its name", f"a look at https://{wanted.domain}"]
    for number, line in enumerate(told, 1):
        say(screen, f"{number:>3}. {line}")


def report(done: Report, screen: Console) -> None:
    """Which cells serve, what failed and what to do, and the address."""
    for region, one in done.serving.items():
        word = "deployed" if one.changed else "unchanged"
        say(screen, f"{region:<16} {word:<10} {one.url}", "green")
    failures(done.failures, screen)
    for note in done.smoke.notes if done.smoke else ():
        say(screen, note)
    if done.stopped:
        say(screen, f"stopped: {done.stopped}", "yellow")
        say(screen, "what CloudFormation has begun goes on; run the same command again to go on")
    if done.url:
        say(screen, f"\n  {done.url}\n", "bold")


def failures(found: Sequence[Failure], screen: Console) -> None:
    """What failed, and below it what to do."""
    for one in found:
        say(screen, f"{one.where:<16} failed     {one.reason}", "red")
        say(screen, f"{'':<16}            {one.remedy}")


def plan(rows: Sequence[Row], screen: Console) -> None:
    """A line a resource; what holds something and would be lost is red."""
    if not rows:
        say(screen, "nothing would change")
        return
    table = Table("region", "stack", "action", "resource", "type", "")
    for one in rows:
        style = "red" if one.danger else ""
        cells = (one.region, one.stack, one.action, one.resource, one.kind, one.danger)
        table.add_row(*(Text(cell, style=style) for cell in cells))
    screen.print(table)


def costs(guess: Estimate, screen: Console) -> None:
    """Dollars a month, a column a region."""
    regions = list(guess.lines)
    table = Table("$ a month", title="Estimate", title_justify="left")
    for name in (*regions, "all"):
        table.add_column(name, justify="right")
    for lines in zip(*guess.lines.values(), strict=True):
        dollars = [line.usd for line in lines]
        if not any(dollars):
            continue
        table.add_row(lines[0].part, *(f"{usd:,.0f}" for usd in (*dollars, sum(dollars))))
    sums = [sum(line.usd for line in guess.lines[region]) for region in regions]
    table.add_section()
    table.add_row("together", *(f"{usd:,.0f}" for usd in (*sums, sum(sums))), style="bold")
    spread = [f"{low:,.0f} to {high:,.0f}" for low, high in guess.ranges.values()]
    table.add_row("GPU nodes, between the bounds", *spread, "")
    screen.print(table)
    for note in guess.notes:
        say(screen, note)


def status(cells: Sequence[CellStatus], edge: EdgeStatus, screen: Console) -> None:
    """One screen."""
    table = Table("cell", "stacks", "health", "workers", "dead letters", "address")
    for one in cells:
        states = [f"{name.removeprefix('rapido-')} {state}" for name, state in one.stacks.items()]
        style = "green" if one.ok else "red"
        table.add_row(
            one.cell,
            "\n".join(states) or "not there",
            Text(one.health, style=style),
            one.workers,
            str(one.dead_letters),
            one.url,
        )
    table.add_section()
    table.add_row("edge", edge.stack, edge.health, "", "", edge.url)
    screen.print(table)
    for one in cells:
        if one.images:
            say(screen, f"{one.cell}: workers' images go to {one.images}")
    for one in cells:
        for todo in one.todo:
            say(screen, f"{one.cell}: {todo}", "red")


def say(screen: Console, line: str, style: str = "") -> None:
    """A line as it is."""
    screen.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
