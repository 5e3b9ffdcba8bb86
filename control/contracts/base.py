"""The settings every message shares, and the field types that recur."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("needs a time zone; send RFC 3339, for example 2027-01-31T09:00:00Z")
    return moment.astimezone(UTC)


class Message(BaseModel):
    """Immutable; an unknown field is an error, so that a typo is never silently ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,  # a function builds the few messages it uses, not all at its cold start
    )


Utc = Annotated[datetime, AfterValidator(_utc)]
LessonId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
ClassId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/?#%]+$")]
"""It stands in paths, so what a path would read as more than a name is left out."""
SessionId = Annotated[str, Field(pattern=r"^s-[a-z0-9-]+-[A-Za-z0-9_]{8,32}$", max_length=80)]
WorkerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
AvatarName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Identity = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
CellName = Annotated[str, Field(pattern=r"^[a-z0-9-]{2,30}$")]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Generation = Annotated[int, Field(ge=1)]
"""Fencing number of a lease: grows with every lease a cell gives, and never repeats."""
