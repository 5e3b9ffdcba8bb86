"""The public address, and the secret by which cells know what came through it."""

from __future__ import annotations

import secrets

from ops.deploy import names, parameters
from ops.deploy.cell_parameters import Shared, edge_parameters
from ops.deploy.cell_template import EDGE
from ops.deploy.facts import CloudError, Stack, Submission
from ops.deploy.pace import Pace
from ops.deploy.parameters import ParameterError
from ops.deploy.ports import Cloud
from ops.deploy.progress import Tell, step
from ops.deploy.settings import Wanted
from ops.deploy.stacks import Driver, StackFailed

_WHAT = "What Rapido's edge sends as x-rapido-edge, and its cells ask for"


def bring_secret(wanted: Wanted, cloud: Cloud, tell: Tell) -> str:
    """Made once, and copied to where it is read; its version. Raises CloudError."""
    name = names.edge_secret(wanted.stage)
    home = cloud.region(wanted.home).secrets
    if home.current(name) is None:
        home.create(name, secrets.token_urlsafe(32), _WHAT)
        step(tell, wanted.home, name, "CREATED", "the edge's secret")
    needed = dict.fromkeys((*wanted.regions, names.EDGE_REGION))
    there = {wanted.home, *home.replicas(name)}
    lacking = [region for region in needed if region not in there]
    if lacking:
        home.replicate(name, lacking)
        step(tell, wanted.home, name, "REPLICATED", ", ".join(lacking))
    current = home.current(name)
    if current is None:
        raise CloudError("SecretGone", f"{name} was removed in this moment; deploy again")
    return current.version


def bring_edge(wanted: Wanted, cloud: Cloud, shared: Shared, tell: Tell, pace: Pace) -> Stack:
    """CloudFront and the viewer's name. Raises StackFailed, CloudError, ParameterError, Stopped."""
    given = edge_parameters(wanted, shared)
    faults = parameters.check(EDGE, given)
    if faults:
        raise ParameterError(f"edge: parameter {'; '.join(faults)}")
    driver = Driver(names.EDGE_REGION, cloud.region(names.EDGE_REGION).stacks, tell, pace)
    name = names.edge_stack(wanted.stage)
    asked = Submission(name, parameters.body(EDGE), given, names.tags(wanted.stage, name))
    stack, _ = driver.bring(asked)
    if "Url" not in stack.outputs:
        raise StackFailed(stack.name, "it has no output Url", "deploy this version's template")
    return stack
