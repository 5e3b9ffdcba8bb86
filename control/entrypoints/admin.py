"""What an operator's own AWS credentials may ask: tables, and the first keys."""

from __future__ import annotations

from typing import Any

from control import bootstrap
from control.entrypoints.telemetry import logger, traced

_ASKS = (
    'send {"do": "migrate"} or {"do": "create-key", "tenant": T, "role": "client" or "operator"}'
)
_ROLES = ("client", "operator")


class BadRequest(Exception):
    """What was asked is not known here; the message says what is."""


@traced
def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Tables made or brought up to date; or a new key, which is shown this once and never logged.

    Raises BadRequest.
    """
    del context
    match event:
        case {"do": "migrate"}:
            bootstrap.migrate()
            logger.info("tables are up to date")
            return {"migrated": True}
        case {"do": "create-key", "tenant": str(tenant), "role": str(role)} if role in _ROLES and (
            0 < len(tenant) <= 100
        ):
            key = bootstrap.create_key(tenant, "operator" if role == "operator" else "client")
            logger.info("key made", tenant=tenant, role=role)
            return {"key": key}
    raise BadRequest(f"{event!r:.200} is not known here: {_ASKS}")
