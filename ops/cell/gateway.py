"""API Gateway on loopback: chalice's LocalGateway, held to the routes the template declares."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

from chalice.app import Chalice, IAMAuthorizer
from chalice.config import Config
from chalice.local import (
    LambdaContext,
    LambdaEventConverter,
    LocalChalice,
    LocalGateway,
    LocalGatewayAuthorizer,
    LocalGatewayException,
    RouteMatcher,
)

from control.contracts.problem import MEDIA_TYPE, TYPE_PREFIX, Problem
from ops.cell.intrinsics import TemplateError
from ops.cell.sigv4 import SignatureRefused, SignatureVerifier
from ops.cell.sources import ApiRoute

MAX_BODY_BYTES = 1_000_000


class Refused(LocalGatewayException):
    """An answer of the gateway's own, before any handler ran."""

    def __init__(self, status: int, kind: str, title: str, detail: str) -> None:
        problem = Problem(type=TYPE_PREFIX + kind, title=title, status=status, detail=detail)
        body = problem.model_dump_json(exclude_none=True).encode()
        super().__init__({"Content-Type": MEDIA_TYPE}, body)
        self.CODE = status


class ThreadedApp(LocalChalice):
    """chalice keeps the current request and context on the app; here one a thread."""

    _CONTEXT = threading.local()

    @property
    def lambda_context(self) -> Any:
        """The context of the request this thread serves."""
        return self._CONTEXT.value

    @lambda_context.setter
    def lambda_context(self, value: Any) -> None:
        self._CONTEXT.value = value


class SigV4Authorizer(LocalGatewayAuthorizer):
    """Lets signed routes pass with the signer's ARN; the rest is chalice's own."""

    def __init__(
        self, app: Chalice, signed: frozenset[tuple[str, str]], verifier: SignatureVerifier
    ) -> None:
        super().__init__(app)
        self._signed = signed
        self._verifier = verifier

    def authorize(
        self, raw_path: str, lambda_event: dict[str, Any], lambda_context: Any
    ) -> tuple[dict[str, Any], Any]:
        """Checks the signature where the template asks for one.

        Raises:
            Refused: 403, the request is not signed by a known worker.
        """
        context = lambda_event["requestContext"]
        path = context["resourcePath"]
        if not {(context["httpMethod"], path), ("ANY", path)} & self._signed:
            return super().authorize(raw_path, lambda_event, lambda_context)
        headers = lambda_event["headers"]
        url = f"http://{headers.get('host', '')}{raw_path}"
        body = lambda_event["body"] or b""
        try:
            arn = self._verifier.identity(context["httpMethod"], url, headers, body)
        except SignatureRefused as refusal:
            raise Refused(
                403, "forbidden", "Not signed by a worker", f"{refusal}; sign with SigV4"
            ) from refusal
        context["identity"]["userArn"] = arn
        return lambda_event, lambda_context


class CellGateway(LocalGateway):
    """Answers the template's routes; every other one is 404, whatever the app has."""

    def __init__(
        self,
        app: Chalice,
        routes: tuple[ApiRoute, ...],
        verifier: SignatureVerifier,
        context: Callable[[], LambdaContext],
    ) -> None:
        _check_signed_alike(app, routes)
        app.__class__ = type("ThreadedApp", (ThreadedApp, type(app)), {})
        super().__init__(app, Config())
        self._context = context
        self._declared = frozenset((route.method, route.path) for route in routes)
        self.event_converter = LambdaEventConverter(RouteMatcher([r.path for r in routes]))
        signed = frozenset((r.method, r.path) for r in routes if r.signed)
        self._authorizer = SigV4Authorizer(app, signed, verifier)

    def _generate_lambda_event(
        self, method: str, path: str, headers: dict[str, Any], body: bytes | None
    ) -> dict[str, Any]:
        event = super()._generate_lambda_event(method, path, headers, body)
        event["requestContext"]["requestId"] = str(uuid.uuid4())
        return event

    def _generate_lambda_context(self) -> LambdaContext:
        return self._context()

    def handle_request(
        self, method: str, path: str, headers: dict[str, Any], body: bytes | None
    ) -> dict[str, Any]:
        """One request through authorizer and app, as chalice's response dictionary.

        Raises:
            Refused: 404 no such route in the template; 403 not signed.
        """
        if not self.declares(method, path):
            raise no_such_route(method, path)
        return super().handle_request(method, path, headers, body or None)

    def declares(self, method: str, path: str) -> bool:
        """Whether the template has this route."""
        try:
            route = self.event_converter._route_matcher.match_route(path).route
        except ValueError:
            return False
        return bool({(method, route), ("ANY", route)} & self._declared)


def _check_signed_alike(app: Chalice, routes: tuple[ApiRoute, ...]) -> None:
    """A route signed by code but open in the template would be open on AWS."""
    for route in routes:
        entry = app.routes.get(route.path, {}).get(route.method)
        if entry is not None and isinstance(entry.authorizer, IAMAuthorizer) != route.signed:
            raise TemplateError(
                f"{route.method} {route.path}: the template and the code disagree on AWS_IAM; "
                "give the event `Auth: {Authorizer: AWS_IAM}`, or take the authorizer away"
            )


def no_such_route(method: str, path: str) -> Refused:
    """What an undeclared route answers."""
    shown = path.partition("?")[0][:200]
    detail = f"{method} {shown} is not part of this API; GET /openapi.json lists what is"
    return Refused(404, "not-found", "No such route", detail)
