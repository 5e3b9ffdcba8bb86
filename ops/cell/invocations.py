"""Lambda's Invoke, for the functions a template names and no others."""

from __future__ import annotations

import importlib
import json
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalice.local import LambdaContext

from ops.cell.intrinsics import ACCOUNT_ID, TemplateError
from ops.cell.template import Function

Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Answer:
    """What Invoke returns: status, JSON body, and whether the handler failed."""

    status: int
    body: bytes
    function_error: bool = False


class Functions:
    """The template's functions by name, their handlers imported.

    Raises:
        TemplateError: a handler string that does not import.
    """

    def __init__(self, functions: Mapping[str, Function], region: str) -> None:
        self._functions = functions
        self._region = region
        self._handlers = {name: import_handler(f) for name, f in functions.items()}

    def handler(self, name: str) -> Handler:
        """The imported handler of function ``name``."""
        return self._handlers[name]

    def context(self, name: str) -> LambdaContext:
        """A fresh context for one invocation of ``name``."""
        function = self._functions[name]
        context = LambdaContext(name, function.memory_mb, function.timeout_s * 1000)
        context.invoked_function_arn = self._arn(name)
        return context

    def _arn(self, name: str) -> str:
        return f"arn:aws:lambda:{self._region}:{ACCOUNT_ID}:function:{name}"

    def invoke(self, name: str, payload: bytes) -> Answer:
        """Runs the handler with a JSON payload; what it raises becomes Lambda's error body.

        A handler that takes longer than its Timeout is answered for, as on AWS; its thread cannot
        be ended and runs on.
        """
        if name not in self._handlers:
            missing = f"Function not found: {self._arn(name)}"
            return Answer(404, _json({"Type": "User", "Message": missing}))
        try:
            event = json.loads(payload or b"{}")
        except ValueError as error:
            fault = {"Type": "User", "Message": f"Could not parse request body into json: {error}"}
            return Answer(400, _json(fault))
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        run = threading.Thread(
            target=lambda: answers.put(self._run(name, event)), name=name, daemon=True
        )
        run.start()
        timeout_s = self._functions[name].timeout_s
        try:
            return answers.get(timeout=timeout_s)
        except queue.Empty:
            message = f"Task timed out after {timeout_s:.2f} seconds"
            return _failure(message, "Sandbox.Timedout")

    def _run(self, name: str, event: Any) -> Answer:
        try:
            return Answer(200, _json(self._handlers[name](event, self.context(name))))
        except Exception as error:  # noqa: BLE001 (whatever a handler raises is Lambda's answer)
            trace = traceback.format_exc()
            sys.stderr.write(f"{name} failed:\n{trace}")
            return _failure(str(error), type(error).__name__, trace.splitlines()[-20:])

    def invoke_in_background(self, name: str, payload: bytes) -> Answer:
        """Lambda's invocation type Event: 202 at once."""
        if name not in self._handlers:
            return self.invoke(name, payload)
        threading.Thread(target=self.invoke, args=(name, payload), daemon=True).start()
        return Answer(202, b"")


def _failure(message: str, kind: str, trace: list[str] | None = None) -> Answer:
    body = {"errorMessage": message, "errorType": kind, "stackTrace": trace or []}
    return Answer(200, _json(body), function_error=True)


def import_handler(function: Function) -> Handler:
    """The object a handler string ``module.name`` names."""
    module_name, _, attribute = function.handler.rpartition(".")
    try:
        handler: Handler = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TemplateError(
            f"{function.name}.Handler: {function.handler!r} does not import: {error}"
        ) from error
    return handler


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
