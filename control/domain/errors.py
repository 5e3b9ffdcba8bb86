"""Every way a request can be refused; the HTTP edge turns each into problem+json.

RapidoError
├── InvalidRequest          400 / 422: a field is wrong
├── Unauthorized            401
├── Forbidden               403
├── NotFound                404
├── Conflict                409: stale registration or generation, a key used for something else
├── TooManyRequests         429, Retry-After
├── Quota                   429: the tenant has as many sessions as it may
├── NoCapacity              503, Retry-After
├── HomeAway                503, Retry-After: the home cell, which keeps what was asked for
└── Unavailable             503: a part the cell needs is away
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """One value that was not accepted, and what would be."""

    field: str
    fault: str
    remedy: str


@dataclass
class RapidoError(Exception):
    """``slug`` names the problem type and never changes; ``detail`` says what to do."""

    detail: str
    slug: str = "internal"
    title: str = "Something went wrong in the cell"
    status: int = 500
    retry_after_s: int | None = None
    faults: tuple[Fault, ...] = field(default=())

    def __str__(self) -> str:
        return self.detail


def invalid(*faults: Fault) -> RapidoError:
    """A body, query or header that cannot be accepted."""
    names = ", ".join(fault.field for fault in faults)
    return RapidoError(
        f"Correct {names} and send the request again.",
        "invalid-request",
        "The request is not valid",
        422,
        faults=faults,
    )


def malformed(detail: str) -> RapidoError:
    """A body that is not JSON at all."""
    return RapidoError(detail, "malformed-body", "The body cannot be read", 400)


def unauthorized(detail: str) -> RapidoError:
    """No credentials, or wrong or expired ones."""
    return RapidoError(detail, "unauthorized", "Credentials are needed", 401)


def forbidden(detail: str) -> RapidoError:
    """Known, and not allowed."""
    return RapidoError(detail, "forbidden", "Not allowed", 403)


def not_found(what: str, name: str) -> RapidoError:
    """Also the answer to a foreign tenant: it learns nothing, not even that the thing exists."""
    return RapidoError(
        f"There is no {what} {name[:100]!r} here; list them to see which there are.",
        "not-found",
        f"No such {what}",
        404,
    )


def conflict(slug: str, title: str, detail: str) -> RapidoError:
    """The state of things does not allow it."""
    return RapidoError(detail, slug, title, 409)


def too_many_requests(limit: int, wait_s: float) -> RapidoError:
    """The tenant's requests of this second are used up."""
    return RapidoError(
        f"Your tenant may send {limit} requests a second; wait for Retry-After, and spread them.",
        "too-many-requests",
        "Too many requests",
        429,
        math.ceil(wait_s),
    )


def quota(most: int) -> RapidoError:
    """The tenant has as many open sessions as it may."""
    return RapidoError(
        f"Your tenant may have {most} sessions at once; end one, or ask your operator for more.",
        "quota",
        "The quota is used up",
        429,
        30,
    )


def no_capacity(detail: str, retry_after_s: int) -> RapidoError:
    """No free slot anywhere in the cell."""
    return RapidoError(detail, "no-capacity", "No free slot", 503, retry_after_s)


def home_away(what: str, home: str, retry_after_s: int = 10) -> RapidoError:
    """The home cell does not answer; what it was asked for is safe to ask again."""
    return RapidoError(
        f"The {what} is kept in the cell {home}, which does not answer. It may have done it or "
        f"not: send the same again in {retry_after_s} s.",
        "unavailable",
        "The home cell is away",
        503,
        retry_after_s,
    )


def unavailable(part: str, retry_after_s: int = 2) -> RapidoError:
    """A part that is needed does not answer."""
    return RapidoError(
        f"The cell's {part} does not answer. Nothing was done; try again in {retry_after_s} s.",
        "unavailable",
        f"The {part} is away",
        503,
        retry_after_s,
    )
