"""The HTTP servers of the functions' process: the public API and Lambda's Invoke."""

from __future__ import annotations

import base64
import re
import socket
import sys
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from chalice.local import LocalGatewayException

from ops.cell.gateway import MAX_BODY_BYTES, CellGateway, Refused, no_such_route
from ops.cell.invocations import Answer, Functions

_INVOCATION = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_MAX_PAYLOAD_BYTES = 6_000_000
"""Lambda's own limit for a synchronous invocation."""


_MAX_DISCARDED_BYTES = 16_000_000


class Server(ThreadingHTTPServer):
    """Loopback, a thread a connection."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, handler: type[Requests], **served: Any) -> None:
        self.served = served
        super().__init__(("127.0.0.1", port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours; anything else is told in the log."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Requests(BaseHTTPRequestHandler):
    """One request: its body within a limit, one answer."""

    protocol_version = "HTTP/1.1"
    server: Server
    # One write a response, and none waits for the client's delayed acknowledgement (44 ms).
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 120

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Nothing: the functions log their own requests, without what people sent."""

    def body(self, limit: int) -> bytes | None:
        """The request's body, or None after answering that it is too big or has no length."""
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdigit():
            self.close_connection = True
            self.refuse(Refused(411, "bad-request", "No length", "Send Content-Length."))
            return None
        if int(length) > limit:
            # Read what still comes, within reason: the client sees the answer only then.
            self.close_connection = True
            self.rfile.read(min(int(length), _MAX_DISCARDED_BYTES))
            detail = f"The body has {length} bytes; send at most {limit}."
            self.refuse(Refused(413, "too-large", "Body too large", detail))
            return None
        return self.rfile.read(int(length))

    def refuse(self, error: LocalGatewayException) -> None:
        """Sends the gateway's own answer."""
        self.answer(error.CODE, dict(error.headers), error.body or b"")

    def answer(self, status: int, headers: dict[str, Any], body: bytes) -> None:
        """Sends one response; a header's value may be a list."""
        self.send_response(status)
        for name, values in headers.items():
            for value in values if isinstance(values, list) else [values]:
                self.send_header(name, str(value))
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)
        self.wfile.flush()


class ApiRequests(Requests):
    """The public API through the gateway."""

    def _serve(self) -> None:
        body = self.body(MAX_BODY_BYTES)
        if body is None:
            return
        gateway: CellGateway | None = self.server.served["gateway"]
        try:
            if gateway is None:
                raise no_such_route(self.command, self.path)
            response = gateway.handle_request(self.command, self.path, dict(self.headers), body)
        except LocalGatewayException as refusal:
            self.refuse(refusal)
        except Exception:  # noqa: BLE001 (API Gateway answers 502 when a function breaks)
            sys.stderr.write(traceback.format_exc())
            detail = "The function did not answer; its log says why."
            self.refuse(Refused(502, "internal", "Function failed", detail))
        else:
            self._send(response)

    def _send(self, response: dict[str, Any]) -> None:
        headers = {**response.get("headers", {}), **response.get("multiValueHeaders", {})}
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        content = response.get("body") or ""
        raw = base64.b64decode(content) if response.get("isBase64Encoded") else content
        body = raw if isinstance(raw, bytes) else raw.encode()
        self.answer(response["statusCode"], headers, body)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 (the base class's form)
    do_DELETE = do_PATCH = _serve  # noqa: N815
    do_HEAD = do_OPTIONS = _serve  # noqa: N815


class InvokeRequests(Requests):
    """Lambda's Invoke, for the state machines."""

    def do_POST(self) -> None:
        """Runs one function."""
        payload = self.body(_MAX_PAYLOAD_BYTES)
        if payload is None:
            return
        match = _INVOCATION.fullmatch(unquote(self.path))
        if match is None:
            self.refuse(no_such_route(self.command, self.path))
            return
        functions: Functions = self.server.served["functions"]
        in_background = self.headers.get("x-amz-invocation-type") == "Event"
        invoke = functions.invoke_in_background if in_background else functions.invoke
        result = invoke(function_name(match.group(1)), payload)
        self.answer(result.status, _invoke_headers(result), result.body)


def function_name(given: str) -> str:
    """The name alone, of a name or a whole or partial ARN, with or without a version."""
    return given.rpartition("function:")[2].partition(":")[0]


def _invoke_headers(result: Answer) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "x-amzn-RequestId": str(uuid.uuid4())}
    if result.function_error:
        headers["X-Amz-Function-Error"] = "Unhandled"
    if result.status == 404:
        headers["X-Amzn-ErrorType"] = "ResourceNotFoundException"
    return headers


def listening(port: int) -> bool:
    """Whether a server accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
