"""A function of the package as Lambda runs it: AWS's emulator and runtime client, no container."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from ops.cell.files import ROOT, plain_environment
from ops.cell.http_server import listening
from ops.cell.ports import free_ports
from ops.cell.supervisor import PartError, Supervisor
from ops.cell.template import Function
from ops.package import IMAGE_PYTHON

_EMULATOR = ".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"
_INVOKE = "/2015-03-31/functions/function/invocations"


class FunctionFailed(Exception):
    """The handler raised, or the function did not start; the message is its errorType and words."""


def unpack(package: Path, folder: Path) -> Path:
    """The folder that Lambda would run the package's functions from.

    Raises:
        PartError: the package is not there.
    """
    if not package.is_file():
        raise PartError(f"{package} is not there: run make package")
    with zipfile.ZipFile(package) as packed:
        packed.extractall(folder)
    return folder


class Emulated:
    """One function, cold: its process starts with the first event."""

    def __init__(
        self, supervisor: Supervisor, function: Function, code: Path, more: Mapping[str, str]
    ) -> None:
        """``code`` is its unpacked package, ``more`` what its environment holds besides the
        template's: credentials, addresses.

        Raises:
            PartError: the emulator is not installed, or did not start.
        """
        emulator = next(ROOT.glob(_EMULATOR), None)
        if emulator is None or not IMAGE_PYTHON.exists():
            raise PartError("Lambda's emulator is not installed: run make package")
        port, inner = free_ports(2)
        self._name = f"emulated-{function.name}"
        self._supervisor = supervisor
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=function.timeout_s + 30
        )
        addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        addresses += ["--runtime-api-address", f"127.0.0.1:{inner}"]
        argv = [str(emulator), *addresses, str(IMAGE_PYTHON), "-m", "awslambdaric"]
        environment = {
            **plain_environment(),
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's folder is read-only
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout_s),
            **function.environment,
            **more,
        }
        supervisor.start(
            self._name, [*argv, function.handler], environment, lambda: listening(port), cwd=code
        )

    def invoke(self, event: Any) -> Any:
        """What the handler returned.

        Raises:
            FunctionFailed: it raised, or could not be started.
        """
        answer = self._client.post(_INVOKE, json=event)
        found = answer.json() if answer.content else None
        # the emulator says 200 and sets no header where a handler raised
        raised = isinstance(found, dict) and "errorType" in found
        if raised or answer.status_code != httpx.codes.OK:
            log = "\n".join(self._supervisor[self._name].tail())
            raise FunctionFailed(f"{answer.status_code} {found}\n{log}")
        return found

    def stop(self) -> None:
        """Ends its process."""
        self._client.close()
        self._supervisor.stop(self._name)
