"""The options of the deployer's commands, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ops.deploy import settings
from ops.deploy.facts import BuildError, CloudError
from ops.deploy.settings import SettingError, Wanted
from ops.terminal import print_fault

Domain = Annotated[
    str,
    typer.Option(help="The public address's host, as in rapido.example.com.", show_default=False),
]
Regions = Annotated[
    str | None,
    typer.Option(help="With commas, all of the stage; else us-east-1,us-west-2,eu-central-1."),
]
Home = Annotated[
    str | None,
    typer.Option(help="The region with the database; else the first. It never moves by itself."),
]
Stage = Annotated[str, typer.Option(help="prod, or a name of a trial's own: staging, …")]
Size = Annotated[
    str | None,
    typer.Option(help="full, or small: one NAT, no copies. Else as it was, at first full."),
]
LivekitUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--livekit",
        help="wss://… for all regions, or REGION=wss://… for each, or self for servers of one's "
        "own. A new cell needs it; else as it was.",
    ),
]
LivekitSecret = Annotated[
    str | None,
    typer.Option(help="The secret, in every region, with livekit_api_key and livekit_api_secret."),
]
Image = Annotated[
    str | None,
    typer.Option(
        "--worker-image",
        help="ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:…; else as it was, at first none: "
        "the cell comes without GPU workers.",
    ),
]
Avatars = Annotated[
    list[str] | None,
    typer.Option("--avatar", help="An avatar's name, or its folder; more than one; else demo."),
]
Email = Annotated[str | None, typer.Option("--alarm-email", help="Who is told of alarms.")]
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        min=0,
        help="The account's dollars a month past which --alarm-email is told; 0 for none.",
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other parameter of template.yaml: NAME=VALUE, or REGION:NAME=VALUE, as in "
        "us-east-1:MaxNodes=30. It stays with later deploys.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(envvar="RAPIDO_KEY", show_envvar=True, help="A client's, to try a session with."),
]
OperatorKey = Annotated[
    str | None, typer.Option(envvar="RAPIDO_OPERATOR_KEY", show_envvar=True, help="An operator's.")
]


def wanted_of(
    domain: str,
    regions: str | None,
    home: str | None,
    stage: str,
    size: str | None,
    livekit: list[str] | None,
    livekit_secret: str | None,
    image: str | None,
    avatars: list[str] | None,
    email: str | None,
    budget: int | None,
    extra: list[str] | None,
) -> Wanted:
    """The options together. Raises SettingError."""
    named = settings.regions_of(regions)
    if size is not None and size not in settings.SIZES:
        raise SettingError("--size", f"{size!r} is none of {', '.join(settings.SIZES)}")
    return Wanted(
        domain=settings.domain_of(domain),
        regions=named,
        home=settings.home_of(home, named),
        stage=settings.stage_of(stage),
        size=size,
        livekit=settings.livekit_of(livekit or (), livekit_secret, named),
        worker_image=image,
        avatars=tuple(avatars or ("demo",)),
        alarm_email=email,
        budget_usd=budget,
        extra=settings.extra_parameters(extra or (), named),
    )


@contextmanager
def faults() -> Iterator[None]:
    """A wrong setting is exit 2, what an operator can mend exit 1; each is one line."""
    from gpu_node.avatars.package import AvatarError
    from ops.cell.intrinsics import TemplateError
    from ops.deploy.lock import Locked
    from ops.deploy.packaging import PackageError
    from ops.deploy.parameters import ParameterError
    from ops.deploy.stacks import StackFailed

    try:
        yield
    except SettingError as error:
        raise typer.BadParameter(str(error)) from error
    except (
        AvatarError,
        BuildError,
        CloudError,
        Locked,
        PackageError,
        ParameterError,
        StackFailed,
        TemplateError,
    ) as error:
        print_fault(error)
        raise typer.Exit(1) from None
