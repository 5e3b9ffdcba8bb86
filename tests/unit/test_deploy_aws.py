"""The deployer's calls that moto does not answer, held against botocore's model of each service."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse

from ops.deploy.aws_client import Client
from ops.deploy.aws_fleet import AwsFunctions, AwsLimits, AwsPools
from ops.deploy.aws_stacks import AwsStacks
from ops.deploy.facts import CloudError, CredentialsExpired, Submission

JSON = "application/x-amz-json-1.1"


class Wire:
    """Answers what a client sends, and keeps it: no connection is made."""

    def __init__(self) -> None:
        self.sent: list[AWSRequest] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    def __call__(self, request: AWSRequest, **_: Any) -> AWSResponse:
        self.sent.append(request)
        status, headers, body = self.answers.pop(0)
        raw = io.BytesIO(body)
        raw.stream = lambda *_, **__: iter([body])  # type: ignore[attr-defined]
        return AWSResponse(request.url, status, headers, raw)

    def told(self) -> str:
        body = self.sent[-1].body
        return body.decode() if isinstance(body, bytes) else str(body)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def client(wire: Wire) -> Callable[[str], Client]:
    session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none")

    def make(service: str) -> Client:
        made = Client(session, service, "us-east-1")
        made._client.meta.events.register("before-send", wire)
        return made

    return make


def _refusal(code: str, message: str = "no") -> tuple[int, dict[str, str], bytes]:
    body = {"__type": code, "message": message, "Message": message}
    return 400, {"content-type": JSON, "x-amzn-errortype": code}, json.dumps(body).encode()


def test_a_function_that_failed_is_told_in_its_own_words(
    wire: Wire, client: Callable[[str], Client]
) -> None:
    functions = AwsFunctions(client("lambda"))
    fault = json.dumps({"errorType": "OperationalError", "errorMessage": "no such host"}).encode()
    wire.answers = [
        (200, {}, b'{"migrated": true}'),
        (200, {"X-Amz-Function-Error": "Unhandled"}, fault),
    ]

    assert functions.invoke("admin", {"do": "migrate"}) == {"migrated": True}
    assert json.loads(wire.told()) == {"do": "migrate"}
    with pytest.raises(CloudError, match=r"function admin failed: .*no such host"):
        functions.invoke("admin", {"do": "migrate"})


def test_a_node_is_let_go_by_the_hook_of_the_pools_template(
    wire: Wire, client: Callable[[str], Client]
) -> None:
    from ops.cell.files import ROOT
    from ops.cell.intrinsics import read_yaml

    group = read_yaml(ROOT / "infra" / "gpu_pool.yaml")["Resources"]["Group"]["Properties"]
    hooks = {
        one["LifecycleHookName"]
        for one in group["LifecycleHookSpecificationList"]
        if one["LifecycleTransition"].endswith("TERMINATING")
    }
    pools = AwsPools(client("autoscaling"))
    answer = b"<CompleteLifecycleActionResponse><CompleteLifecycleActionResult/>"
    wire.answers = [(200, {}, answer + b"</CompleteLifecycleActionResponse>")]

    pools.let_go("rapido-x-g5.xlarge-spot", "i-1")

    sent = wire.told()
    (hook,) = hooks
    assert f"LifecycleHookName={hook}" in sent
    assert "InstanceId=i-1" in sent
    assert "LifecycleActionResult=CONTINUE" in sent


def test_a_quota_that_was_never_changed_is_its_default(
    wire: Wire, client: Callable[[str], Client]
) -> None:
    limits = AwsLimits(client("service-quotas"), client("ec2"))
    known = json.dumps({"Quota": {"Value": 64.0}}).encode()
    wire.answers = [_refusal("NoSuchResourceException"), (200, {"content-type": JSON}, known)]

    assert limits.quota("ec2", "L-DB2E81BA") == 64.0
    assert json.loads(wire.told()) == {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"}


@pytest.mark.parametrize(
    "code", ["ExpiredTokenException", "UnrecognizedClientException", "RequestExpired"]
)
def test_credentials_that_are_no_longer_valid_are_told_apart(
    wire: Wire, client: Callable[[str], Client], code: str
) -> None:
    limits = AwsLimits(client("service-quotas"), client("ec2"))
    wire.answers = [_refusal(code, "the security token included in the request is expired")]

    with pytest.raises(CredentialsExpired, match="service-quotas in us-east-1: get_service_quota"):
        limits.quota("ec2", "L-DB2E81BA")


def test_no_credentials_at_all_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    with pytest.raises(CredentialsExpired, match="Unable to locate credentials"):
        Client(boto3.Session(), "sts", "us-east-1").call("get_caller_identity")


def test_a_change_set_asks_for_nested_changes_and_keeps_what_was(
    wire: Wire, client: Callable[[str], Client]
) -> None:
    stacks = AwsStacks(client("cloudformation"))
    answer = b"<CreateChangeSetResponse><CreateChangeSetResult/></CreateChangeSetResponse>"
    wire.answers = [(200, {}, answer)]
    asked = Submission("s", "https://b/t.json", {"A": None, "B": "2"}, {"k": "v"})

    stacks.propose("one", asked, create=False, nested=True)

    sent = dict(part.split("=", 1) for part in wire.told().split("&"))
    assert sent["ChangeSetType"] == "UPDATE"
    assert sent["IncludeNestedStacks"] == "true"
    assert sent["Parameters.member.1.UsePreviousValue"] == "true"
    assert sent["Parameters.member.2.ParameterValue"] == "2"
    assert "TemplateURL" in sent
    capabilities = {value for key, value in sent.items() if key.startswith("Capabilities")}
    assert {"CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"} <= capabilities


def test_a_stack_that_is_not_there_is_none_and_no_fault(
    wire: Wire, client: Callable[[str], Client]
) -> None:
    stacks = AwsStacks(client("cloudformation"))
    said = b"<ErrorResponse><Error><Code>ValidationError</Code><Message>%b</Message></Error>"
    wire.answers = [
        (400, {}, said % b"Stack with id s does not exist" + b"</ErrorResponse>"),
        (400, {}, said % b"StackName is malformed" + b"</ErrorResponse>"),
    ]

    assert stacks.find("s") is None
    with pytest.raises(CloudError, match="malformed"):
        stacks.find("s")
