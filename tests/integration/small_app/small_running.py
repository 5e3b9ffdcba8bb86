"""Runs the small template: local AWS and functions, as a cell does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ops.cell.aws import aws_environment, start_aws
from ops.cell.deploy import LocalAws, queue_urls
from ops.cell.files import ROOT, own_environment
from ops.cell.functions import FunctionsPlan
from ops.cell.ports import free_ports
from ops.cell.supervisor import Death, Supervisor
from ops.cell.template import Deployment, Template

SMALL_TEMPLATE = Path(__file__).parent / "small_cell.yaml"
REGION = "eu-central-1"
KEY, SECRET, SESSION = "AKIASMALL", "not-secret", "small-w1"


@dataclass(frozen=True)
class SmallCell:
    """Addresses of what runs."""

    url: str
    aws: LocalAws
    deployment: Deployment
    supervisor: Supervisor
    deaths: list[Death]

    def queue_url(self, name: str) -> str:
        return queue_urls(self.deployment, self.aws.url)[name]

    def seen(self, count: int) -> list[str]:
        """The next ``count`` things the handlers told; waits for them."""
        sqs = self.aws.client("sqs")
        found: list[str] = []
        for _ in range(30):
            answer = sqs.receive_message(QueueUrl=self.queue_url("Seen"), WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                found.append(message["Body"])
                sqs.delete_message(
                    QueueUrl=self.queue_url("Seen"), ReceiptHandle=message["ReceiptHandle"]
                )
            if len(found) >= count:
                return found
        raise AssertionError(f"saw only {found}")

    def invoke(self, name: str, payload: Any, **options: str) -> dict[str, Any]:
        """Lambda's Invoke through the local AWS, as a state machine does."""
        client = self.aws.client("lambda")
        answer = client.invoke(FunctionName=name, Payload=json.dumps(payload), **options)
        return {**answer, "Payload": answer["Payload"].read()}


@contextmanager
def small_cell(
    folder: Path, template: Path = SMALL_TEMPLATE, schedule_scale: str = "1", **parameters: str
) -> Iterator[SmallCell]:
    """Starts the template, and stops it."""
    api_port, invoke_port, aws_port = free_ports(3)
    deaths: list[Death] = []
    supervisor = Supervisor(folder / "logs", deaths.append)
    try:
        invoke_url = f"http://127.0.0.1:{invoke_port}"
        aws_url = start_aws(supervisor, aws_port, invoke_url, region=REGION)
        given = {"Greeting": "hello", **parameters}
        urls = queue_urls(Template(template).resolve(given, {}, REGION), aws_url)
        plan = FunctionsPlan(str(template), given, urls, REGION, api_port, invoke_port)
        deployment = plan.deployment()
        aws = LocalAws(aws_url, REGION)
        aws.make_queues(deployment.queues)
        aws.make_state_machines(deployment)
        (folder / "plan.json").write_text(plan.write(), encoding="utf-8")
        environment = {
            **own_environment(),
            **aws_environment(aws_url, REGION),
            "RAPIDO_LOCAL_CREDENTIALS": json.dumps({KEY: [SECRET, SESSION]}),
            "RAPIDO_SCHEDULE_SCALE": schedule_scale,
        }
        argv = [sys.executable, "-m", "ops.cell.functions", str(folder / "plan.json")]
        url = f"http://127.0.0.1:{api_port}"
        supervisor.start("functions", argv, environment, lambda: answers(url), cwd=ROOT)
        yield SmallCell(url, aws, deployment, supervisor, deaths)
    finally:
        supervisor.stop_all()


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


def signed_headers(url: str, body: bytes, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """What a worker sends with a POST."""
    request = AWSRequest("POST", url, {"Content-Type": "application/json"}, body)
    SigV4Auth(Credentials(key, secret), "execute-api", REGION).add_auth(request)
    return dict(request.headers.items())
