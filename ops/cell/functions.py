"""The process of the cell's functions: gateway, Invoke, schedules and queues from the template.

Run as ``python -m ops.cell.functions PLAN``; PLAN is a ``FunctionsPlan`` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from chalice.app import Chalice

from gpu_node.promptness import answer_promptly
from ops.cell.gateway import CellGateway
from ops.cell.http_server import ApiRequests, InvokeRequests, Server
from ops.cell.intrinsics import TemplateError
from ops.cell.invocations import Functions
from ops.cell.pumps import Pump, QueuePump, SchedulePump
from ops.cell.sigv4 import SignatureVerifier, read_credentials
from ops.cell.template import Deployment, Template, machine_arn


@dataclass(frozen=True)
class FunctionsPlan:
    """Everything the process must be told."""

    template: str
    parameters: Mapping[str, str]
    attributes: Mapping[str, str]
    region: str
    api_port: int
    invoke_port: int

    def write(self) -> str:
        """As JSON, for ``read``."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> FunctionsPlan:
        """What ``write`` wrote."""
        return FunctionsPlan(**json.loads(text))

    def deployment(self) -> Deployment:
        """The template, resolved with this plan's values."""
        template = Template(Path(self.template))
        return template.resolve(self.parameters, self.attributes, self.region)


def gateway_for(
    deployment: Deployment, functions: Functions, verifier: SignatureVerifier
) -> CellGateway | None:
    """The gateway in front of the one function with Api events; None where there is none.

    Raises:
        TemplateError: two such functions, or a handler that is no chalice app.
    """
    fronted = [function for function in deployment.functions.values() if function.routes]
    if not fronted:
        return None
    if len(fronted) > 1:
        names = ", ".join(function.name for function in fronted)
        raise TemplateError(f"Api events on {names}: the local gateway has one function behind it")
    function = fronted[0]
    app = functions.handler(function.name)
    if not isinstance(app, Chalice):
        raise TemplateError(f"{function.name}.Handler: {function.handler} is no chalice app")
    return CellGateway(app, function.routes, verifier, lambda: functions.context(function.name))


def pumps_for(
    deployment: Deployment, functions: Functions, plan: FunctionsPlan, speed: float
) -> list[Pump]:
    """One pump a schedule and one a queue source, not started."""
    sqs: Any = boto3.client("sqs", region_name=plan.region)
    states: Any = boto3.client("stepfunctions", region_name=plan.region)
    found: list[Pump] = []
    for machine in deployment.state_machines.values():
        start = partial(_start, states, machine_arn(plan.region, machine.name))
        for schedule in machine.schedules:
            found.append(SchedulePump(start, schedule, plan.region, speed))
    for function in deployment.functions.values():
        invoke = partial(functions.invoke, function.name)
        for schedule in function.schedules:
            found.append(SchedulePump(invoke, schedule, plan.region, speed))
        for source in function.queues:
            url = plan.attributes[source.queue]
            found.append(QueuePump(functions, function.name, source, sqs, url, plan.region))
    return found


def _start(states: Any, machine: str, payload: bytes) -> None:
    states.start_execution(stateMachineArn=machine, name=str(uuid.uuid4()), input=payload.decode())


def main(argv: list[str]) -> None:
    """Serves until killed."""
    plan = FunctionsPlan.read(Path(argv[1]).read_text(encoding="utf-8"))
    deployment = plan.deployment()
    os.environ.update(deployment.environment())
    # As in the package that ships: handlers are named from the template's own folder.
    sys.path.insert(0, str(Path(plan.template).parent))
    functions = Functions(deployment.functions, plan.region)
    credentials = read_credentials(os.environ.get("RAPIDO_LOCAL_CREDENTIALS", "{}"))
    nodes = os.environ.get("RAPIDO_LOCAL_NODE_SECRET", "")
    verifier = SignatureVerifier(credentials, plan.region, nodes)
    gateway = gateway_for(deployment, functions, verifier)
    invoke = Server(plan.invoke_port, InvokeRequests, functions=functions)
    api = Server(plan.api_port, ApiRequests, gateway=gateway)
    threading.Thread(target=invoke.serve_forever, name="invoke", daemon=True).start()
    answer_promptly()
    speed = float(os.environ.get("RAPIDO_SCHEDULE_SCALE", "1"))
    for pump in pumps_for(deployment, functions, plan, speed):
        pump.start()
    api.serve_forever()


if __name__ == "__main__":
    main(sys.argv)
