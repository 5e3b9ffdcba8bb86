"""The edge of every HTTP call: credentials, parsing, problems, logs. Handlers do the rest."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal
from urllib.parse import quote

from chalice.app import Blueprint, IAMAuthorizer, Request, Response
from pydantic import BaseModel, ValidationError

from control import bootstrap
from control.contracts.problem import MEDIA_TYPE, TYPE_PREFIX, FieldFault, Problem
from control.domain.errors import (
    Fault,
    RapidoError,
    forbidden,
    invalid,
    malformed,
    unauthorized,
    unavailable,
)
from control.entrypoints.telemetry import count, logger, traced
from control.services import access, forwarding
from control.services.peer_ports import PeerAnswer
from control.services.ports import Caller, Cell, StoreAway

Auth = Literal["anyone", "client", "operator", "worker", "peer", "livekit"]
_CORRELATION = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_MOST_BODY_BYTES = 64 * 1024
_SIGNED = IAMAuthorizer()


@dataclass(frozen=True)
class Call:
    """One request, its credentials checked."""

    cell: Cell
    caller: Caller | None
    body: Any
    headers: Mapping[str, str]
    query: Mapping[str, str]
    raw_body: bytes
    correlation_id: str

    @property
    def client(self) -> Caller:
        """The caller of a route that needs one."""
        if self.caller is None:
            raise unauthorized("This call needs a key.")
        return self.caller


@dataclass(frozen=True)
class Route:
    """What OpenAPI tells about a route."""

    method: str
    path: str
    auth: Auth
    summary: str
    body: type[BaseModel] | None
    answers: Mapping[int, type[BaseModel] | None]
    query: Mapping[str, str]
    most_body_bytes: int

    @property
    def signed(self) -> bool:
        """Whether the gateway checks a signature (AWS_IAM)."""
        return self.auth in ("worker", "peer")


@dataclass(frozen=True)
class Answer:
    """``body`` None sends none."""

    status: int
    body: BaseModel | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


ROUTES: list[Route] = []
Handler = Callable[..., Answer]


def endpoint(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    auth: Auth,
    answers: Mapping[int, type[BaseModel] | None],
    body: type[BaseModel] | None = None,
    query: Mapping[str, str] | None = None,
    most_body_bytes: int = _MOST_BODY_BYTES,
) -> Callable[[Handler], Handler]:
    """Registers ``run(call, **path_parameters) -> Answer``; its docstring is its documentation."""

    def register(run: Handler) -> Handler:
        summary = (run.__doc__ or "").strip().split("\n")[0]
        route = Route(method, path, auth, summary, body, answers, query or {}, most_body_bytes)
        ROUTES.append(route)
        options: dict[str, Any] = {"methods": [method], "name": run.__name__}
        if route.signed:
            options["authorizer"] = _SIGNED
        if method in ("POST", "PUT"):
            options["content_types"] = ["application/json", "application/webhook+json"]

        work = traced(run)

        @blueprint.route(path, **options)
        @wraps(run)
        def handler(**parameters: str) -> Response:
            return _serve(blueprint.current_request, work, route, parameters)

        return run

    return register


def _serve(request: Request, run: Handler, route: Route, parameters: dict[str, str]) -> Response:
    began = time.perf_counter()
    raw_body = bytes(request.raw_body or b"")  # type: ignore[arg-type]
    headers = request.headers
    asked = headers.get("x-correlation-id", "")
    correlation_id = (
        asked
        if _CORRELATION.fullmatch(asked)
        else str((request.context or {}).get("requestId") or time.time_ns())
    )
    try:
        cell = bootstrap.cell()
        answer = _from_its_cell(cell, request, route, parameters, correlation_id)
        if answer is None:
            caller = _caller(cell, route.auth, request, parameters)
            call = Call(
                cell,
                caller,
                _parsed(route.body, raw_body, route.most_body_bytes) if route.body else None,
                headers,
                _query(request, route.query),
                raw_body,
                correlation_id,
            )
            answer = run(call, **parameters)
        response = _answer(answer)
    except RapidoError as error:
        response = _problem(error, correlation_id)
    except StoreAway:
        response = _problem(unavailable("store"), correlation_id)
    except Exception:  # noqa: BLE001 (the edge: whatever it was, the caller gets a problem)
        logger.exception("unexpected", correlation_id=correlation_id, route=run.__name__)
        unexpected = RapidoError("Try again; if it stays, tell your operator the correlation id.")
        response = _problem(unexpected, correlation_id)
    if response.status_code >= 500:
        count("Refused" if response.status_code == 503 else "Faults")
    response.headers["X-Correlation-Id"] = correlation_id
    logger.info(
        "answered",
        correlation_id=correlation_id,
        route=run.__name__,
        status=response.status_code,
        ms=round((time.perf_counter() - began) * 1000, 1),
    )
    return response


def _from_its_cell(
    cell: Cell, request: Request, route: Route, parameters: Mapping[str, str], correlation_id: str
) -> Answer | None:
    """What the session's own cell answers, where the session is another cell's."""
    session_id = parameters.get("session_id") or parameters.get("ticket")
    if session_id is None or route.auth != "client":
        return None
    path = route.path.format(**{name: quote(value) for name, value in parameters.items()})
    headers = to_pass_on(request.headers, correlation_id)
    raw_body = bytes(request.raw_body or b"")  # type: ignore[arg-type]
    found = forwarding.forward(cell, session_id, route.method, path, raw_body, headers)
    return None if found is None else passed_on(found)


def to_pass_on(headers: Mapping[str, str], correlation_id: str) -> dict[str, str]:
    """A call's headers, names in lower case, as another cell gets some of them."""
    lower = {name.lower(): value for name, value in headers.items()}
    return lower | {"x-correlation-id": correlation_id}


def passed_on(answer: PeerAnswer) -> Answer:
    """A peer's answer as ours."""
    body = answer.body if answer.status != 204 else None
    headers = {name.title(): value for name, value in answer.headers.items()}
    return Answer(answer.status, body, headers)


def _caller(
    cell: Cell, auth: Auth, request: Request, parameters: Mapping[str, str]
) -> Caller | None:
    if auth in ("anyone", "livekit"):
        return None
    if auth == "worker":
        if "worker_id" in parameters:
            speaks_for(request.context or {}, parameters["worker_id"])
        return None
    if auth == "peer":
        if "cell" in parameters:
            speaks_for(request.context or {}, f"cell-{parameters['cell']}")
        return None
    caller = access.authenticate(cell, request.headers.get("authorization", ""))
    if caller.role != "operator":  # who may look into one cell has to reach that one
        _came_by_the_edge(cell, request)
    if auth == "operator" and caller.role != "operator":
        raise forbidden("This call is for operators; use an operator's key.")
    return caller


def _came_by_the_edge(cell: Cell, request: Request) -> None:
    """Clients come by the public address: only there their place is told truly.

    Raises forbidden.
    """
    shown = request.headers.get(forwarding.EDGE, "")
    if cell.edge_key and not hmac.compare_digest(shown.encode(), cell.edge_key.encode()):
        raise forbidden("Call the public address; a cell's own is for workers and other cells.")


def signer(context: Mapping[str, Any]) -> str:
    """The session name of the role that signed: a worker's id, or ``cell-<cell>`` of a peer.

    Raises forbidden.
    """
    arn = str((context.get("identity") or {}).get("userArn") or "")
    name = arn.rpartition("/")[2]
    if not name:
        raise forbidden("Sign the request with your own role's credentials (SigV4).")
    return name


def speaks_for(context: Mapping[str, Any], name: str) -> None:
    """A worker or cell may only speak for itself. Raises forbidden."""
    if (found := signer(context)) != name:
        raise forbidden(f"{found} may not speak for {name[:63]!r}; name yourself.")


def _parsed(model: type[BaseModel], raw: bytes, most_bytes: int) -> BaseModel:
    if len(raw) > most_bytes:
        fault = Fault("body", f"has {len(raw)} bytes", f"send at most {most_bytes}")
        raise invalid(fault)
    try:
        return model.model_validate_json(raw or b"")
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        raise malformed("Send a JSON object (Content-Type: application/json).")
    raise invalid(*(_fault(one, model) for one in found))


def _fault(one: Any, model: type[BaseModel]) -> Fault:
    where = ".".join(str(part) for part in one["loc"]) or "body"
    kind, context = one["type"], one.get("ctx", {})
    remedies = {
        "missing": "add it",
        "extra_forbidden": f"remove it; known here are {', '.join(model.model_fields)}"
        if len(one["loc"]) == 1
        else "remove it",
        "string_pattern_mismatch": f"match {context.get('pattern')}",
        "string_too_long": f"use at most {context.get('max_length')} characters",
        "string_too_short": f"use at least {context.get('min_length')} characters",
        "less_than_equal": f"send at most {context.get('le')}",
        "greater_than_equal": f"send at least {context.get('ge')}",
        "greater_than": f"send more than {context.get('gt')}",
        "too_long": f"send at most {context.get('max_length')}",
        "too_short": f"send at least {context.get('min_length')}",
        "literal_error": f"send {context.get('expected')}",
        "enum": f"send {context.get('expected')}",
    }
    own = context.get("remedy", "see GET /openapi.json for what it takes")
    return Fault(where, one["msg"], remedies.get(kind, own))


def _query(request: Request, known: Mapping[str, str]) -> dict[str, str]:
    given = dict(request.query_params or {})
    strange = [name for name in given if name not in known]
    if strange:
        remedy = f"remove it; known here are {', '.join(known) or 'none'}"
        raise invalid(*(Fault(name[:100], "is not a parameter", remedy) for name in strange))
    return given


def _answer(answer: Answer) -> Response:
    headers: dict[str, Any] = dict(answer.headers)
    if answer.body is None:
        return Response("", headers, answer.status)
    headers.setdefault("Content-Type", "application/json")
    if isinstance(answer.body, BaseModel):
        return Response(answer.body.model_dump_json(), headers, answer.status)
    return Response(json.dumps(dict(answer.body)), headers, answer.status)


def _problem(error: RapidoError, correlation_id: str) -> Response:
    problem = Problem(
        type=TYPE_PREFIX + error.slug,
        title=error.title,
        status=error.status,
        detail=error.detail,
        errors=tuple(
            FieldFault(field=f.field, fault=f.fault, remedy=f.remedy) for f in error.faults
        ),
        correlation_id=correlation_id,
    )
    headers: dict[str, Any] = {"Content-Type": MEDIA_TYPE}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(problem.model_dump_json(), headers, error.status)
