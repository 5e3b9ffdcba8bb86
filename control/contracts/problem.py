"""Errors as both sides see them: problem+json, RFC 9457."""

from __future__ import annotations

from control.contracts.base import Message

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:rapido:problem:"


class FieldFault(Message):
    """One value that was not accepted, and what would be."""

    field: str
    fault: str
    remedy: str


class Problem(Message):
    """``type`` is stable: programs branch on it; ``detail`` is for people and may change."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldFault, ...] = ()
    correlation_id: str | None = None
