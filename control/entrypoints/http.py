"""The edge of every HTTP call: credentials, parsing, problems, logs. Handlers do the rest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal

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
from control.entrypoints.telemetry import count, logger
from control.services import access
from control.services.ports import Caller, Cell, StoreAway

Auth = Literal["anyone", "client", "operator", "worker", "livekit"]
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
) -> Callable[[Handler], Handler]:
    """Registers ``run(call, **path_parameters) -> Answer``; its docstring is its documentation."""

    def register(run: Handler) -> Handler:
        summary = (run.__doc__ or "").strip().split("\n")[0]
        ROUTES.append(Route(method, path, auth, summary, body, answers, query or {}))
        options: dict[str, Any] = {"methods": [method], "name": run.__name__}
        if auth == "worker":
            options["authorizer"] = _SIGNED
        if method in ("POST", "PUT"):
            options["content_types"] = ["application/json", "application/webhook+json"]

        @blueprint.route(path, **options)
        @wraps(run)
        def handler(**parameters: str) -> Response:
            return _serve(blueprint.current_request, run, auth, body, query or {}, parameters)

        return run

    return register


def _serve(
    request: Request,
    run: Handler,
    auth: Auth,
    body: type[BaseModel] | None,
    query: Mapping[str, str],
    parameters: dict[str, str],
) -> Response:
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
        caller = _caller(cell, auth, request, parameters)
        call = Call(
            cell,
            caller,
            _parsed(body, raw_body) if body else None,
            headers,
            _query(request, query),
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


def _caller(
    cell: Cell, auth: Auth, request: Request, parameters: Mapping[str, str]
) -> Caller | None:
    if auth in ("anyone", "livekit"):
        return None
    if auth == "worker":
        if "worker_id" in parameters:
            speaks_for(request.context or {}, parameters["worker_id"])
        return None
    caller = access.authenticate(cell, request.headers.get("authorization", ""))
    if auth == "operator" and caller.role != "operator":
        raise forbidden("This call is for operators; use an operator's key.")
    return caller


def speaks_for(context: Mapping[str, Any], worker_id: str) -> None:
    """A worker may only speak for itself: the session name of its role is its own id.

    Raises forbidden.
    """
    arn = str((context.get("identity") or {}).get("userArn") or "")
    signer = arn.rpartition("/")[2]
    if not signer:
        raise forbidden("Sign the request with the worker's own credentials (SigV4).")
    if signer != worker_id:
        raise forbidden(f"{signer} may not speak for {worker_id[:63]!r}; a worker names itself.")


def _parsed(model: type[BaseModel], raw: bytes) -> BaseModel:
    if len(raw) > _MOST_BODY_BYTES:
        fault = Fault("body", f"has {len(raw)} bytes", f"send at most {_MOST_BODY_BYTES}")
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
        "literal_error": f"send {context.get('expected')}",
        "enum": f"send {context.get('expected')}",
    }
    return Fault(where, one["msg"], remedies.get(kind, "see GET /openapi.json for what it takes"))


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
    headers["Content-Type"] = "application/json"
    if isinstance(answer.body, BaseModel):
        return Response(answer.body.model_dump_json(), headers, answer.status)
    return Response(dict(answer.body), headers, answer.status)


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
