"""The functions' process: only what the template names runs, and signatures are verified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from control.contracts.problem import Problem
from ops.cell.supervisor import PartError
from tests.integration.small_app.small_running import (
    SESSION,
    SMALL_TEMPLATE,
    SmallCell,
    signed_headers,
    small_cell,
)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCell]:
    with small_cell(tmp_path_factory.mktemp("gateway"), schedule_scale="120") as running:
        yield running


@pytest.fixture(scope="module")
def client(cell: SmallCell) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cell.url) as http:
        yield http


def problem(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json"
    return Problem.model_validate_json(answer.content)


def post_signed(
    client: httpx.Client, cell: SmallCell, headers: dict[str, str], body: bytes = b"{}"
) -> httpx.Response:
    return client.post(f"{cell.url}/signed", content=body, headers=headers)


def test_a_declared_route_answers_with_the_templates_environment(client: httpx.Client) -> None:
    answer = client.get("/hello/you", params={"q": "a b"})
    assert answer.json() == {"text": "hello you", "query": "a b", "function": "ApiFunction"}


def test_requests_at_once_do_not_mix(client: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(lambda n: client.get(f"/hello/{n}").json()["text"], range(200)))
    assert texts == [f"hello {n}" for n in range(200)]


def test_body_status_and_repeated_headers_pass_unchanged(client: httpx.Client) -> None:
    body = '{"text": "schön"}'.encode()
    answer = client.post("/echo", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.content) == (201, body)
    assert answer.headers.get_list("x-small") == ["a", "b"]


def test_a_route_nobody_has_is_404(client: httpx.Client) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert problem(answer).type == "urn:rapido:problem:not-found"


def test_a_route_of_the_code_that_the_template_lacks_is_404(client: httpx.Client) -> None:
    assert client.get("/undeclared").status_code == 404


def test_a_method_the_template_lacks_is_404(client: httpx.Client) -> None:
    assert client.delete("/hello/you").status_code == 404


def test_a_body_over_one_megabyte_is_413_and_the_next_request_works(client: httpx.Client) -> None:
    answer = client.post("/echo", content=b" " * 1_000_001)
    assert problem(answer).status == 413
    assert client.get("/hello/again").status_code == 200


def test_a_body_without_a_length_is_411(client: httpx.Client) -> None:
    answer = client.post("/echo", content=iter([b"{}"]))
    assert problem(answer).status == 411


def test_a_handlers_fault_shows_the_client_nothing_of_its_inside(client: httpx.Client) -> None:
    answer = client.get("/broken")
    assert answer.status_code >= 500
    assert "secret inside" not in answer.text


def test_a_signed_request_carries_its_signers_arn(client: httpx.Client, cell: SmallCell) -> None:
    body = b'{"n": 1}'
    answer = post_signed(client, cell, signed_headers(f"{cell.url}/signed", body), body)
    arn = f"arn:aws:sts::000000000000:assumed-role/rapido-worker/{SESSION}"
    assert answer.json() == {"arn": arn}


def test_an_unsigned_request_is_refused(client: httpx.Client, cell: SmallCell) -> None:
    answer = post_signed(client, cell, {"Content-Type": "application/json"})
    assert problem(answer).type == "urn:rapido:problem:forbidden"
    assert answer.status_code == 403


@pytest.mark.parametrize(("key", "secret"), [("AKIASMALL", "another"), ("AKIAOTHER", "not-secret")])
def test_a_signature_by_someone_else_is_refused(
    client: httpx.Client, cell: SmallCell, key: str, secret: str
) -> None:
    headers = signed_headers(f"{cell.url}/signed", b"{}", key, secret)
    assert post_signed(client, cell, headers).status_code == 403


def test_a_body_changed_after_signing_is_refused(client: httpx.Client, cell: SmallCell) -> None:
    headers = signed_headers(f"{cell.url}/signed", b"{}")
    assert post_signed(client, cell, headers, b'{"more": 1}').status_code == 403


def test_a_function_is_invoked_with_its_context(cell: SmallCell) -> None:
    answer = cell.invoke("AddFunction", {"numbers": [1, 2]})
    assert json.loads(answer["Payload"]) == {
        "sum": 3,
        "function": "AddFunction",
        "arn": "arn:aws:lambda:eu-central-1:123456789012:function:AddFunction",
        "in_time": True,
    }


def test_a_handlers_exception_is_lambdas_error_body(cell: SmallCell) -> None:
    answer = cell.invoke("FailFunction", {"sum": 9})
    body = json.loads(answer["Payload"])
    assert answer["FunctionError"] == "Unhandled"
    assert (body["errorType"], body["errorMessage"]) == ("TooMuch", "9 is too much")


def test_a_handler_over_its_time_is_answered_for(cell: SmallCell) -> None:
    answer = cell.invoke("SlowFunction", {})
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"])["errorType"] == "Sandbox.Timedout"


def test_an_event_invocation_returns_at_once_and_runs(cell: SmallCell) -> None:
    record = {"eventSource": "by hand", "body": "later", "messageId": "m", "attributes": {}}
    record["attributes"] = {"ApproximateReceiveCount": "1"}
    answer = cell.invoke("CollectFunction", {"Records": [record]}, InvocationType="Event")
    assert answer["StatusCode"] == 202
    seen: list[str] = []
    while "by hand later" not in seen:
        seen += cell.seen(1)


def test_a_handler_the_template_does_not_name_does_not_run(cell: SmallCell) -> None:
    client = cell.aws.client("lambda")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="small_steps.unlisted", Payload="{}")


def test_a_state_machine_calls_the_templates_functions(cell: SmallCell) -> None:
    states = cell.aws.client("stepfunctions")
    machine = states.list_state_machines()["stateMachines"][0]
    assert machine["name"] == "hello-sums"
    run = states.start_execution(
        stateMachineArn=machine["stateMachineArn"], name="one", input='{"numbers": [3, 4]}'
    )
    # AddFunction's answer reaches FailFunction, whose error is caught.
    description = finished(states, run["executionArn"])
    assert description["status"] == "SUCCEEDED"
    output = json.loads(description["output"])
    assert output["sum"] == 7
    assert output["fault"]["Error"] == "TooMuch"


def finished(states: object, arn: str) -> dict[str, str]:
    while True:
        found = states.describe_execution(executionArn=arn)  # type: ignore[attr-defined]
        if found["status"] != "RUNNING":
            return found  # type: ignore[no-any-return]


def test_a_queue_feeds_its_function_and_a_refused_message_comes_again(cell: SmallCell) -> None:
    sqs = cell.aws.client("sqs")
    for body in ("first", "refuse once"):
        sqs.send_message(QueueUrl=cell.queue_url("Inbox"), MessageBody=body)
    seen: list[str] = []
    while not {"aws:sqs first", "aws:sqs refuse once"} <= set(seen):
        seen += cell.seen(1)
    assert seen.count("aws:sqs first") == 1


def test_a_schedule_fires_at_its_rate(cell: SmallCell) -> None:
    seen: list[str] = []
    while seen.count("tick Scheduled Event") < 2:
        seen += cell.seen(1)


def test_an_app_taken_out_of_the_template_is_gone(tmp_path: Path) -> None:
    with small_cell(tmp_path, WithApi="no") as cell:
        answer = httpx.get(f"{cell.url}/hello/you")
        assert answer.status_code == 404
        assert json.loads(cell.invoke("AddFunction", {"numbers": [1]})["Payload"])["sum"] == 1


def test_a_signed_route_left_open_in_the_template_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    shutil.copytree(SMALL_TEMPLATE.parent, folder)
    template = folder / SMALL_TEMPLATE.name
    text = template.read_text()
    assert "Auth:" in text
    template.write_text(text.replace(", Auth: { Authorizer: AWS_IAM }", ""))
    with pytest.raises(PartError, match="POST /signed: the template and the code disagree"):
        small_cell(tmp_path, template).__enter__()
