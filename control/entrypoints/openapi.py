"""OpenAPI 3.1 from the routes and the contracts: ``python -m control.entrypoints.openapi``."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from control.contracts.problem import MEDIA_TYPE, Problem
from control.entrypoints import (  # noqa: F401 (they fill ROUTES)
    cell_api,
    fleet_api,
    peers_api,
    sessions_api,
    timetable_api,
    workers_api,
)
from control.entrypoints.http import ROUTES, Route
from control.version import __version__

_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "anyone": [],
    "client": [{"key": []}],
    "operator": [{"key": []}],
    "worker": [{"sigv4": []}],
    "peer": [{"sigv4": []}],
    "livekit": [{"livekit": []}],
}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A client's or operator's key."},
    "sigv4": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4, by the worker's or peer cell's own role.",
    },
    "livekit": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "LiveKit's webhook token over the body's SHA-256.",
    },
}


def describe() -> dict[str, Any]:
    """The whole description, the same for the same code."""
    models: dict[str, type[BaseModel]] = {"Problem": Problem}
    for route in ROUTES:
        for model in (route.body, *route.answers.values()):
            if model is not None:
                models[model.__name__] = model
    _, schemas = models_json_schema(
        [(model, "validation") for _, model in sorted(models.items())],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for route in sorted(ROUTES, key=lambda one: (one.path, one.method)):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rapido",
            "version": __version__,
            "description": "A talking, lip-synced avatar for every lesson.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": _SCHEMES},
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    answers: dict[str, Any] = {}
    for status, model in route.answers.items():
        answers[str(status)] = {"description": "As asked" if status < 400 else "Not now"}
        if model is not None:
            answers[str(status)]["content"] = {"application/json": {"schema": _ref(model)}}
    answers["default"] = {
        "description": "A problem: what is wrong and what to do",
        "content": {MEDIA_TYPE: {"schema": _ref(Problem)}},
    }
    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": _SECURITY[route.auth],
        "parameters": parameters,
        "responses": answers,
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    return operation


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def text() -> str:
    """As committed."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    cell_api.OPENAPI.write_text(text())
