"""What is deployed of a stage already, as its cells' stacks tell."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ops.deploy import names
from ops.deploy.ports import Cloud


def regions_of_stage(stage: str, looked_at: Sequence[str], cloud: Cloud) -> tuple[str, ...]:
    """Where the stage has a cell, and what those cells know as their peers' regions; all that was
    looked at where it has none. Raises CloudError.
    """
    found: dict[str, None] = {}
    for region in looked_at:
        stack = cloud.region(region).stacks.find(names.cell_stack(names.cell_name(stage, region)))
        if stack is not None:
            peers = json.loads(stack.parameters.get("Peers") or "[]")
            found |= dict.fromkeys([region, *(str(one["region"]) for one in peers)])
    return tuple(found or looked_at)
