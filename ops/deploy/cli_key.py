"""``rapido key create``: a key of a tenant's, made by the home cell."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ops.deploy import names, settings
from ops.deploy.options import Stage, faults
from ops.deploy.sides import sides
from ops.terminal import Json, print_result

key = typer.Typer(help="Keys of the cells on AWS, for operators.", no_args_is_help=True)


class Role(StrEnum):
    """What a key may do."""

    CLIENT = "client"
    OPERATOR = "operator"


@key.command("create")
def key_create(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Whose key it is; lessons are named within it.")],
    role: Annotated[Role, typer.Option(help="operator also sees workers and drains them.")],
    home: Annotated[str, typer.Option(help="The region of the home cell.")] = settings.REGIONS[0],
    stage: Stage = "prod",
    as_json: Json = False,
) -> None:
    """Make a key. It is shown this once: the cells keep its digest."""
    with faults():
        settings.stage_of(stage)
        from ops.deploy.facts import CloudError

        here = sides(context.obj).cloud.region(settings.home_of(home, (home,)))
        name = names.cell_stack(names.cell_name(stage, home))
        stack = here.stacks.find(name)
        function = stack.outputs.get("AdminFunctionName") if stack else None
        if function is None:
            fault = f"{name} in {home} is no home cell; give its region with --home, or deploy it"
            raise CloudError("NoHomeCell", fault)
        asked = {"do": "create-key", "tenant": tenant, "role": role.value}
        made = here.functions.invoke(function, asked)
    print_result({"tenant": tenant, "role": role.value, "key": made["key"]}, as_json)
