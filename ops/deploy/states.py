"""What to do with a stack, by the state it is in. Pure."""

from __future__ import annotations

from enum import Enum

from ops.deploy.facts import Event, Stack


class Move(Enum):
    """The next thing to do."""

    CREATE = "create"
    UPDATE = "update"
    JOIN = "join"
    """Something is under way already: wait for its end."""
    REPLACE = "replace"
    """It never came to be: remove it and make it anew."""
    REFUSE = "refuse"
    """A person has to look first."""


_STANDS = {
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
}
_NEVER_WAS = {"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "CREATE_FAILED"}
_REMEDIES = {
    "ROLLBACK_FAILED": (
        "it never came to be, and could not be cleared away: see to that resource, then run "
        "`aws cloudformation delete-stack --stack-name {name} --region {region}` and run this again"
    ),
    "DELETE_FAILED": (
        "see to that resource, then run `aws cloudformation delete-stack --stack-name {name} "
        "--region {region}` and run this again"
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "it serves as it stands: see to that resource, then run `aws cloudformation "
        "continue-update-rollback --stack-name {name} --region {region}` and run this again"
    ),
    "UPDATE_FAILED": (
        "run `aws cloudformation rollback-stack --stack-name {name} --region {region}` and "
        "run this again"
    ),
}


def next_move(stack: Stack | None) -> Move:
    """What a deploy does with a stack in this state."""
    if stack is None or stack.status == "DELETE_COMPLETE":
        return Move.CREATE
    if stack.status in _STANDS:
        return Move.UPDATE
    if stack.status in _NEVER_WAS:
        return Move.REPLACE
    return Move.JOIN if stack.status.endswith("_IN_PROGRESS") else Move.REFUSE


def remedy(status: str, name: str, region: str) -> str:
    """What a person does about a stack that does not stand."""
    if status in _NEVER_WAS:
        return "it never came to be: correct its cause and deploy again, which makes it anew"
    text = _REMEDIES.get(
        status, "look at it in the console of CloudFormation in {region}, then run this again"
    )
    return text.format(name=name, region=region)


def succeeded(status: str) -> bool:
    """The operation that led here did what it should."""
    return status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE")


def first_failure(events: list[Event]) -> Event | None:
    """The resource that failed first: what failed after it failed for it.

    A nested stack only repeats what one of its own resources said, so it counts last.
    """
    failed = [event for event in events if event.status.endswith("_FAILED")]
    own = [
        event
        for event in failed
        if "cancelled" not in event.reason.lower() and event.kind != "AWS::CloudFormation::Stack"
    ]
    return min(own or failed, key=lambda event: event.at, default=None)
