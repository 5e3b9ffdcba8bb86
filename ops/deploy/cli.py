"""``rapido deploy`` and ``rapido plan``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from ops.deploy.options import (
    Avatars,
    Budget,
    Domain,
    Email,
    Extra,
    Home,
    Image,
    Key,
    LivekitSecret,
    LivekitUrls,
    Regions,
    Size,
    Stage,
    faults,
    wanted_of,
)
from ops.deploy.plan import Row
from ops.deploy.settings import Wanted
from ops.deploy.sides import Sides, print_json, sides
from ops.terminal import Json

# The modules that do the work are imported by the command that needs them: boto3 takes a while.


def deploy(
    context: typer.Context,
    domain: Domain,
    regions: Regions = None,
    home: Home = None,
    stage: Stage = "prod",
    size: Size = None,
    livekit: LivekitUrls = None,
    livekit_secret: LivekitSecret = None,
    worker_image: Image = None,
    avatar: Avatars = None,
    alarm_email: Email = None,
    budget: Budget = None,
    extra: Extra = None,
    key: Key = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check, and say what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Bring all cells to AWS, or to this version, behind one address.

    It checks first, and lists all that is missing. Then the regions side by side, a line an event;
    then the edge, and a look at the address. Run it again after anything: it goes on where it
    stopped, and what is as it should be stays as it is. A region that fails rolls back alone.
    """
    screen = Console(stderr=as_json)
    with faults():
        wanted = wanted_of(
            domain, regions, home, stage, size, livekit, livekit_secret, worker_image, avatar,
            alarm_email, budget, extra,
        )  # fmt: skip
        from ops.deploy import showing
        from ops.deploy.checks import check
        from ops.deploy.deployment import Deployment, Surroundings
        from ops.deploy.progress import Screen

        others = sides(context.obj)
        found = check(wanted, others.cloud, others.builder)
        showing.checked(found, screen)
        if dry_run:
            showing.steps(wanted, screen)
        if found.zone is None or found.missing or dry_run:
            print_json(asdict(found), as_json)
            raise typer.Exit(1 if found.missing else 0)
        if not yes and not typer.confirm(f"Deploy {stage} to {', '.join(wanted.regions)}?"):
            raise typer.Exit(1)
        around = Surroundings(
            others.cloud, others.builder, others.web, Screen(to_stderr=as_json), others.pace()
        )
        done = Deployment(wanted, found.zone.id, around).run(key)
    showing.report(done, screen)
    print_json(asdict(done), as_json)
    if not done.ok:
        raise typer.Exit(1)


def plan(
    context: typer.Context,
    domain: Domain,
    regions: Regions = None,
    home: Home = None,
    stage: Stage = "prod",
    size: Size = None,
    livekit: LivekitUrls = None,
    livekit_secret: LivekitSecret = None,
    worker_image: Image = None,
    avatar: Avatars = None,
    alarm_email: Email = None,
    budget: Budget = None,
    extra: Extra = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only the cost; no account is asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What a deploy with these options would change, and what a month costs by region.

    Change sets are made, shown and deleted. What would be made anew and holds data, or lessons, is
    marked; CloudFormation may say so of what takes a value from another stack, though it stays. The
    cost is an estimate from dated list prices.
    """
    screen = Console(stderr=as_json)
    with faults():
        wanted = wanted_of(
            domain, regions, home, stage, size, livekit, livekit_secret, worker_image, avatar,
            alarm_email, budget, extra,
        )  # fmt: skip
        from ops.deploy import showing
        from ops.deploy.estimate import estimate

        rows = None if offline else _changes(wanted, sides(context.obj))
        if rows is not None:
            showing.plan(rows, screen)
        guess = estimate(wanted)
        showing.costs(guess, screen)
    changes = None if rows is None else [asdict(one) for one in rows]
    print_json({"changes": changes, "cost": asdict(guess)}, as_json)


def _changes(wanted: Wanted, others: Sides) -> list[Row]:
    from ops.deploy.checks import zone_of
    from ops.deploy.facts import CloudError
    from ops.deploy.packaging import Packager
    from ops.deploy.plan import Planner
    from ops.deploy.progress import Screen

    zone = zone_of(wanted.domain, others.cloud)
    if zone is None:
        fault = f"{wanted.domain}: no public hosted zone for it; see rapido deploy --dry-run"
        raise CloudError("NoHostedZone", fault)
    planner = Planner(wanted, others.cloud, zone.id, Screen(to_stderr=True), others.pace())
    packager = Packager(others.builder.build())
    rows = [row for region in wanted.regions for row in planner.region(region, packager)]
    return rows + planner.edge()
