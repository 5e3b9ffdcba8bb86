"""What EC2 and AWS Health say of nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from control import bootstrap
from control.entrypoints import events

OURS = "i-0123456789abcdef0"


@pytest.fixture
def fenced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workers that were fenced; the store knows one."""
    found: list[str] = []

    def drain(node_id: str) -> bool:
        if node_id == OURS:
            found.append(node_id)
        return node_id == OURS

    cell = SimpleNamespace(store=SimpleNamespace(drain=drain), scaling=None)
    monkeypatch.setattr(bootstrap, "cell", lambda: cell)
    return found


def told(detail_type: str, *resources: str) -> dict[str, Any]:
    return {"source": "aws.ec2", "detail-type": detail_type, "resources": list(resources)}


def arn(node_id: str) -> str:
    return f"arn:aws:ec2:us-east-1:123456789012:instance/{node_id}"


@pytest.mark.parametrize(
    "event",
    [
        told("EC2 Spot Instance Interruption Warning", arn(OURS)),
        told("EC2 Instance Rebalance Recommendation", arn(OURS)),
        told("EC2 Instance State-change Notification", arn(OURS)),
        told("AWS Health Event", OURS, "i-0aaaaaaaaaaaaaaaa"),
    ],
)
def test_a_node_that_is_to_go_gets_no_new_lesson(event: dict[str, Any], fenced: list[str]) -> None:
    assert events.node(event, None) == {"fenced": 1}
    assert events.node(event, None) == {"fenced": 1}, "told twice is the same"
    assert set(fenced) == {OURS}


@pytest.mark.parametrize(
    "event",
    [
        told("EC2 Spot Instance Interruption Warning", arn("i-0bbbbbbbbbbbbbbbb")),
        told("AWS Health Event"),
        {"source": "aws.health"},
    ],
)
def test_nodes_that_are_no_workers_here_are_left_alone(
    event: dict[str, Any], fenced: list[str]
) -> None:
    assert events.node(event, None) == {"fenced": 0}
    assert fenced == []
