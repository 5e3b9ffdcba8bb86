"""What everything is called: by stage and region, so that a second run finds it."""

from __future__ import annotations

EDGE_REGION = "us-east-1"
"""CloudFront's certificates live there."""

STACK_TAG = "rapido:stack"


def cell_name(stage: str, region: str) -> str:
    """The region's cell; stage prod needs no mark."""
    return region if stage == "prod" else f"{stage}-{region}"


def cell_stack(cell: str) -> str:
    """Everything of the cell itself."""
    return f"rapido-{cell}"


def artifacts_stack(cell: str) -> str:
    """The bucket and the image repository."""
    return f"rapido-{cell}-artifacts"


def livekit_stack(cell: str) -> str:
    """A LiveKit of one's own."""
    return f"rapido-{cell}-livekit"


def edge_stack(stage: str) -> str:
    """The public address."""
    return f"rapido-{stage}-edge"


def edge_secret(stage: str) -> str:
    """What the edge says to the cells so that they know it."""
    return f"rapido-{stage}-edge"


def cell_url(cell: str, host: str) -> str:
    """Where workers, peers and health checks reach a cell."""
    return f"https://{cell}.{host}"


def tags(stage: str, stack: str) -> dict[str, str]:
    """Of a stack: CloudFormation hands them on to what it makes, and what outlives the stack is
    found by them."""
    return {"rapido:stage": stage, STACK_TAG: stack}
