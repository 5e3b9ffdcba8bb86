"""AWS on one machine: moto's server, its Step Functions calling the cell's own functions.

Run as ``python -m ops.cell.aws``; RAPIDO_AWS_PORT is where it listens, RAPIDO_INVOKE_URL where the
functions' process answers invocations. With RAPIDO_AWS_SEED it has Auto Scaling groups as AWS's
are, and what chance takes of them comes from that seed.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cache
from typing import Any
from urllib.parse import quote

import boto3
import httpx
from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

from gpu_node.promptness import answer_promptly
from ops.cell.aws_gaps import bus
from ops.cell.files import ROOT, own_environment
from ops.cell.supervisor import Supervisor

INVOCATION = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
_LAMBDA_TIMEOUT_S = 900.0

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class FunctionsFirst:
    """WSGI: hands Lambda invocations to the functions' process, everything else to moto."""

    def __init__(self, moto: Wsgi, invoke_url: str) -> None:
        self._moto = moto
        self._client = httpx.Client(
            base_url=invoke_url,
            timeout=_LAMBDA_TIMEOUT_S,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if INVOCATION.fullmatch(environ.get("PATH_INFO", "")) is None:
            return self._moto(environ, start_response)
        return self._invoke(Request(environ))(environ, start_response)

    def tell(self, arn: str, event: bytes) -> None:
        """Invokes a function in the background. Raises httpx.HTTPError when it was not taken."""
        path = f"/2015-03-31/functions/{quote(arn, safe='')}/invocations"
        headers = {"X-Amz-Invocation-Type": "Event"}
        self._client.post(path, content=event, headers=headers).raise_for_status()

    def _invoke(self, request: Request) -> Response:
        headers = {
            key: value
            for key, value in request.headers.items()
            if key.lower() in ("content-type", "x-amz-invocation-type")
        }
        try:
            answer = self._client.post(request.path, content=request.get_data(), headers=headers)
        except httpx.TransportError as error:
            # AWS says the same when the service itself cannot run the function.
            fault = f'{{"Message": "the functions do not answer: {type(error).__name__}"}}'
            return Response(fault, 503, {"X-Amzn-ErrorType": "ServiceException"})
        kept = {k: v for k, v in answer.headers.items() if k.lower().startswith("x-amz")}
        return Response(answer.content, answer.status_code, kept, content_type="application/json")


class KeepAlive(MotoRequestHandler):
    """Keeps connections open, without waiting for the client's delayed acknowledgement."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True


class SharedClients(boto3.Session):
    """A session that gives the same client again.

    moto's interpreter asks the default session for a new client at every task, which costs more
    than the task.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clients: dict[tuple[Any, ...], Any] = {}
        # Clients may be shared between threads, but not made by two at once.
        self._making = threading.Lock()

    def client(self, *args: Any, **kwargs: Any) -> Any:
        """As boto3.Session.client, one for each service, region and address."""
        key = (*args, *(kwargs.get(k) for k in ("service_name", "region_name", "endpoint_url")))
        with self._making:
            if key not in self._clients:
                self._clients[key] = super().client(*args, **kwargs)
            return self._clients[key]


def parse_once() -> None:
    """Moto parses a definition anew for each execution, 17 ms in which no other thread gets on.

    A copy of what was parsed once takes one.
    """
    parse = cache(AmazonStateLanguageParser.parse)

    def parsed(definition: str) -> Any:
        program, tree = parse(definition)
        return deepcopy(program), tree  # an execution may keep its state in it

    AmazonStateLanguageParser.parse = staticmethod(parsed)


def start_aws(
    supervisor: Supervisor,
    port: int,
    invoke_url: str,
    *,
    name: str = "aws",
    region: str,
    seed: int | None = None,
) -> str:
    """Starts moto's server as a part and returns its URL; a seed gives it groups (two seconds).

    Raises:
        PartError: it does not answer; the message holds its log.
    """
    environment = {
        **own_environment(),
        **aws_environment(f"http://127.0.0.1:{port}", region),
        "MOTO_PORT": str(port),
        "RAPIDO_AWS_PORT": str(port),
        "RAPIDO_INVOKE_URL": invoke_url,
    }
    if seed is not None:
        environment["RAPIDO_AWS_SEED"] = str(seed)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/moto-api/data.json", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    supervisor.start(
        name, [sys.executable, "-m", "ops.cell.aws"], environment, answers, 60.0, cwd=ROOT
    )
    return url


def aws_environment(url: str, region: str) -> dict[str, str]:
    """What makes boto3 speak to this machine and never to the real AWS."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def main() -> None:
    """Serves until killed."""
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    boto3.DEFAULT_SESSION = SharedClients()
    parse_once()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    application: Wsgi = DomainDispatcherApplication(create_backend_app)
    functions = application = FunctionsFirst(application, os.environ["RAPIDO_INVOKE_URL"])
    events = bus.Bus(bus.caller(functions.tell, lambda: boto3.client("stepfunctions")))
    bus.install(events)
    if (seed := os.environ.get("RAPIDO_AWS_SEED")) is not None:
        from ops.cell.aws_gaps.front import with_groups  # two seconds, for cells that scale

        application = with_groups(application, events, os.environ["AWS_REGION"], int(seed))
    answer_promptly()
    run_simple(
        "127.0.0.1",
        int(os.environ["RAPIDO_AWS_PORT"]),
        application,
        threaded=True,
        request_handler=KeepAlive,
    )


if __name__ == "__main__":
    main()
