"""The way to the records where their queue, in another region perhaps, does not answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control.adapters.aws import SqsQueue
from control.domain.errors import RapidoError
from control.services import upkeep
from gpu_node.cell_client import CALL_TIMEOUT_S
from ops.cell.aws import aws_environment
from ops.cell.ports import free_port
from ops.cell.wires import Wire
from tests.fleet_desk import OD, FleetDesk

IN_THE_EAST = "https://sqs.us-east-1.amazonaws.com/123456789012/rapido-us-east-1-records"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of somebody who takes connections and never answers."""
    wire = Wire(free_port())
    wire.cut()
    yield wire.url
    wire.close()


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    """A lesson changed, and the queue is away."""
    found = FleetDesk(valkey_url)
    found.boot(OD)
    found.lesson()
    found.queue_away = True
    return found


def queue_at(url: str, monkeypatch: pytest.MonkeyPatch) -> SqsQueue:
    for name, value in aws_environment("http://127.0.0.1:1", "us-west-2").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
    return SqsQueue(IN_THE_EAST)


@pytest.mark.parametrize("where", ["nobody", "silent"])
def test_a_queue_that_gives_no_answer_is_unavailable(
    where: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queue_at(silent if where == "silent" else "http://127.0.0.1:1", monkeypatch)
    with pytest.raises(RapidoError, match="records queue does not answer"):
        queue.send(["{}"])


def test_a_heartbeat_waits_for_it_less_than_its_worker_for_an_answer(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = queue_at(silent, monkeypatch)._sqs.meta.config
    assert limits.connect_timeout + limits.read_timeout < CALL_TIMEOUT_S
    assert limits.retries["total_max_attempts"] == 1


def test_what_it_does_not_take_stays_and_is_not_tried_at_once_again(desk: FleetDesk) -> None:
    assert upkeep.flush(desk.cell) is None
    desk.queue_away = False
    assert upkeep.flush(desk.cell) == 0
    assert desk.sent == []

    desk.store.release("flush")  # ten seconds pass

    assert upkeep.flush(desk.cell) == 1
    assert [one["status"] for one in desk.sent] == ["starting"]
