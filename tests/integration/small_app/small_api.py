"""The smallest app a cell can run."""

from __future__ import annotations

import os

from chalice.app import Chalice, IAMAuthorizer, Response

app = Chalice(app_name="small")


@app.route("/hello/{name}")
def hello(name: str) -> dict[str, str]:
    """Reads environment, path, query and header."""
    request = app.current_request
    return {
        "text": f"{os.environ['SMALL_GREETING']} {name}",
        "query": (request.query_params or {}).get("q", ""),
        "function": app.lambda_context.function_name,
    }


@app.route("/echo", methods=["POST"], content_types=["application/json"])
def echo() -> Response:
    """Answers the very bytes that came."""
    return Response(bytes(app.current_request.raw_body).decode(), {"X-Small": ["a", "b"]}, 201)


@app.route("/broken")
def broken() -> Response:
    """Gives the gateway what no client may see."""
    raise SystemError("secret inside")


@app.route("/signed", methods=["POST"], authorizer=IAMAuthorizer())
def signed() -> dict[str, str]:
    """Who signed."""
    return {"arn": app.current_request.context["identity"]["userArn"]}


@app.route("/undeclared")
def undeclared() -> dict[str, str]:
    """Not in the template: must never run."""
    return {"text": "ran"}
