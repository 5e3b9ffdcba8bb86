"""The worker's HTTP API: what its cell calls, and what probes and Prometheus read."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from control.contracts.problem import MEDIA_TYPE, TYPE_PREFIX, FieldFault, Problem
from control.contracts.worker import StartStream
from gpu_node import auth
from gpu_node.metrics import Metrics
from gpu_node.sessions import Refused, Sessions

_LONGEST_BODY = 65_536
_STATUS = {"unknown-avatar": 422}
_TITLES = {
    "unauthorized": "The cell's token is needed",
    "stale-generation": "The lease is an old one",
    "no-slot": "No slot is free",
    "draining": "The worker is draining",
    "unknown-avatar": "No such avatar",
    "invalid-request": "The request is not valid",
}


class Standing(Protocol):
    """What the API must know of the worker."""

    worker_id: str

    @property
    def key(self) -> bytes | None:
        """Verifies the cell's tokens; None before the registration."""

    @property
    def unready(self) -> str | None:
        """What is still missing; None once a frame was rendered and the cell knows us."""

    @property
    def unwell(self) -> str | None:
        """Why the worker is sick; None while it is not."""

    def drain(self) -> None:
        """No new session from now on."""


def problem(
    status: int, slug: str, detail: str, errors: tuple[FieldFault, ...] = ()
) -> JSONResponse:
    """RFC 9457."""
    title = _TITLES.get(slug, slug.replace("-", " ").capitalize())
    body = Problem(
        type=TYPE_PREFIX + slug, title=title, status=status, detail=detail, errors=errors
    )
    content = body.model_dump(mode="json", exclude_none=True)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def make_app(standing: Standing, sessions: Sessions, metrics: Metrics) -> FastAPI:
    """The application; it serves before the worker is ready, so that probes can watch it boot."""
    app = FastAPI(title="Rapido worker", docs_url=None, redoc_url=None, openapi_url=None)
    _open_calls(app, standing, metrics)
    _cell_calls(app, standing, sessions)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return problem(_STATUS.get(error.slug, 409), error.slug, str(error))

    @app.exception_handler(auth.Unauthorized)
    async def unauthorized(_: Request, error: auth.Unauthorized) -> JSONResponse:
        return problem(401, "unauthorized", str(error))

    @app.exception_handler(HTTPException)
    async def no_such_call(request: Request, error: HTTPException) -> JSONResponse:
        slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
        return problem(error.status_code, slug, f"{request.method} {request.url.path[:200]}")

    return app


def _open_calls(app: FastAPI, standing: Standing, metrics: Metrics) -> None:
    @app.get("/health")
    async def health() -> Response:
        sick = standing.unwell
        if sick is not None:
            return problem(503, "unwell", sick)
        return JSONResponse({"status": "ok", "worker_id": standing.worker_id})

    @app.get("/ready")
    async def ready() -> Response:
        missing = standing.unready
        if missing is not None:
            return problem(503, "unready", missing)
        return JSONResponse({"status": "ready", "worker_id": standing.worker_id})

    @app.get("/metrics")
    async def exposition() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _cell_calls(app: FastAPI, standing: Standing, sessions: Sessions) -> None:
    def caller(request: Request) -> auth.Caller:
        header = request.headers.get("authorization", "")
        return auth.check(header, standing.key, standing.worker_id)

    @app.get("/v1/sessions")
    async def show(request: Request) -> dict[str, Any]:
        caller(request)
        return {"sessions": [view.model_dump(mode="json") for view in sessions.views()]}

    @app.post("/v1/sessions")
    async def start(request: Request) -> Response:
        who = caller(request)
        ask = await _start_stream(request)
        if isinstance(ask, Response):
            return ask
        if (who.session_id, who.generation) != (ask.session_id, ask.generation):
            raise auth.Unauthorized("the token is for another session or generation")
        sessions.start(ask)
        return JSONResponse({"session_id": ask.session_id, "generation": ask.generation}, 202)

    @app.delete("/v1/sessions/{session_id}")
    async def end(request: Request, session_id: str) -> Response:
        who = caller(request)
        if who.session_id != session_id or who.generation is None:
            raise auth.Unauthorized("the token is for another session, or names no generation")
        sessions.end(session_id, who.generation, "The lesson ended.")
        return Response(status_code=204)

    @app.post("/v1/drain")
    async def drain(request: Request) -> Response:
        caller(request)
        standing.drain()
        return Response(status_code=204)


async def _start_stream(request: Request) -> StartStream | Response:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_BODY:
            fault = FieldFault(
                field="body", fault="is too long", remedy=f"send at most {_LONGEST_BODY} bytes"
            )
            return problem(413, "invalid-request", "The body is too long.", (fault,))
    try:
        return StartStream.model_validate_json(body)
    except ValidationError as error:
        faults = tuple(
            FieldFault(
                field=".".join(str(part) for part in one["loc"]) or "body",
                fault=one["msg"],
                remedy="send what the contract of StartStream asks for",
            )
            for one in error.errors(include_input=False, include_url=False)
        )
        names = ", ".join(fault.field for fault in faults)
        return problem(422, "invalid-request", f"Correct {names} and send it again.", faults)
