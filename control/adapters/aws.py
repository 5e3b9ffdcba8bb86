"""Step Functions, Auto Scaling, SQS and Secrets Manager; botocore is loaded at the first call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

from control.domain.errors import unavailable
from control.services.ports import Hook

_QUEUE_REGION = re.compile(r"https://sqs\.([a-z0-9-]+)\.")


@cache
def _session() -> Any:
    """boto3's would cost a cold function 30 ms more, for nothing that is used here."""
    from botocore.session import get_session

    return get_session()


def client(
    service: str,
    region: str | None = None,
    *,
    connect_s: float = 2.0,
    answer_s: float = 5.0,
    retries: int = 2,
) -> Any:
    from botocore.config import Config

    limits = Config(
        connect_timeout=connect_s, read_timeout=answer_s, retries={"max_attempts": retries}
    )
    return _session().create_client(service, region, config=limits)


class Secret:
    """One JSON secret, read when first asked for a part of it."""

    def __init__(self, secret_id: str) -> None:
        self._id = secret_id

    @cached_property
    def _parts(self) -> dict[str, str]:
        found = client("secretsmanager").get_secret_value(SecretId=self._id)
        parts: dict[str, str] = json.loads(found["SecretString"])
        return parts

    def __call__(self, name: str) -> str:
        return self._parts[name]


class StepFunctions:
    """Executions of session_setup, named like their sessions, and of regional_scale_out."""

    def __init__(self, setup_arn: str, scale_out_arn: str) -> None:
        self._setup_arn = setup_arn
        self._scale_out_arn = scale_out_arn

    @cached_property
    def _states(self) -> Any:
        return client("stepfunctions")

    def start_setup(self, execution: str, given: dict[str, Any]) -> None:
        """Raises unavailable; a setup that runs or ran already is left as it is."""
        text = json.dumps(given, sort_keys=True)
        with _started_once():
            self._states.start_execution(
                stateMachineArn=self._setup_arn, name=execution, input=text
            )

    def start_scale_out(self, execution: str, given: dict[str, Any]) -> None:
        """Raises unavailable; one that runs or ran already is left as it is."""
        with _started_once():
            self._states.start_execution(
                stateMachineArn=self._scale_out_arn, name=execution, input=json.dumps(given)
            )

    def setup_ended(self, execution: str) -> bool:
        """True where the setup ran and stopped, False where it runs or never began."""
        return self._status(self._setup_arn, execution) not in (None, "RUNNING")

    def scale_out_ended(self, execution: str) -> bool:
        """True where it ran and stopped, or never began: whoever started it did not get so far."""
        return self._status(self._scale_out_arn, execution) != "RUNNING"

    def _status(self, machine_arn: str, execution: str) -> str | None:
        """None of one that never began."""
        from botocore.exceptions import ClientError

        arn = machine_arn.replace(":stateMachine:", ":execution:") + ":" + execution
        try:
            found = self._states.describe_execution(executionArn=arn)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
                return None
            raise
        return str(found["status"])

    def answer(self, task_token: str, output: dict[str, Any]) -> None:
        """A token that was answered or timed out already is left as it is."""
        self._settle("send_task_success", taskToken=task_token, output=json.dumps(output))

    def refuse(self, task_token: str, reason: str) -> None:
        """The state ends with StreamFailed."""
        self._settle(
            "send_task_failure", taskToken=task_token, error="StreamFailed", cause=reason[:250]
        )

    def ping(self) -> None:
        """Raises unavailable."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._states.describe_state_machine(stateMachineArn=self._setup_arn)
        except (BotoCoreError, ClientError) as error:
            raise unavailable("workflows") from error

    def _settle(self, call: str, **arguments: str) -> None:
        from botocore.exceptions import ClientError

        try:
            getattr(self._states, call)(**arguments)
        except ClientError as error:
            late = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")
            if error.response["Error"]["Code"] not in late:
                raise


@contextmanager
def _started_once() -> Iterator[None]:
    """An execution that runs or ran already is what was wanted; raises unavailable."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise unavailable("workflows") from error
    except BotoCoreError as error:
        raise unavailable("workflows") from error


class ScalingGroups:
    """Lifecycle actions of nodes that go; one that is over already is nothing to do."""

    @cached_property
    def _groups(self) -> Any:
        return client("autoscaling")

    def extend(self, hook: Hook) -> bool:
        """Starts the hook's time anew; False where the action is over."""
        return self._tell("record_lifecycle_action_heartbeat", hook)

    def let_go(self, hook: Hook) -> bool:
        """The node may be terminated; False where the action is over."""
        return self._tell("complete_lifecycle_action", hook, LifecycleActionResult="CONTINUE")

    def _tell(self, call: str, hook: Hook, **more: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            getattr(self._groups, call)(
                AutoScalingGroupName=hook.group,
                LifecycleHookName=hook.name,
                InstanceId=hook.node_id,
                LifecycleActionToken=hook.token,
                **more,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return False
        return True


class SqsQueue:
    """The queue from the outbox to the recorder."""

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _sqs(self) -> Any:
        """In the queue's own region: the home cell's may be another, and that one lost. Heartbeats
        wait for this, less than a worker waits for them; what was not sent is sent again.
        """
        found = _QUEUE_REGION.match(self._url)
        region = found.group(1) if found else None
        return client("sqs", region, connect_s=1.0, answer_s=1.5, retries=0)

    def send(self, entries: Sequence[str]) -> None:
        """At most ten; raises unavailable when any was not taken."""
        from botocore.exceptions import BotoCoreError, ClientError

        batch = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(entries)]
        try:
            answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=batch)
        except (BotoCoreError, ClientError) as error:
            raise unavailable("records queue") from error
        if answer.get("Failed"):
            raise unavailable("records queue")
