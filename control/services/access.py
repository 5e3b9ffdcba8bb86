"""Who is calling."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

from control.domain.errors import too_many_requests, unauthorized
from control.services.ports import Caller, Cell, StoreAway

_PREFIX = "rk_"


def digest(key: str) -> str:
    """What is stored of a key; 256 random bits need no salt."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """256 random bits, as a caller sends them."""
    return _PREFIX + secrets.token_urlsafe(32)


def create_key(
    cell: Cell, tenant: str, role: Literal["client", "operator"], key: str | None = None
) -> str:
    """A new key, shown this once, or one that another cell made. Its truth is in the records, a
    copy in the store."""
    key = key or new_key()
    cell.records.add_key(digest(key), tenant, role)
    cell.store.put_key(digest(key), {"tenant": tenant, "role": role})
    return key


def authenticate(cell: Cell, authorization: str) -> Caller:
    """The caller of ``Authorization: Bearer KEY``. Raises unauthorized, too-many-requests."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise unauthorized("Send the header Authorization: Bearer KEY, with a key of your tenant.")
    if not key.startswith(_PREFIX) or len(key) > 100:
        raise unauthorized(f"That is not a Rapido key: keys begin with {_PREFIX}.")
    hashed = digest(key)
    try:
        facts = cell.store.key(hashed)
        if facts is None:
            facts = cell.records.key(hashed) or {}
            cell.store.put_key(hashed, facts)
    except StoreAway:
        # a peer may serve the caller yet
        facts = cell.records.key(hashed) or {}
    if not facts:
        raise unauthorized("The key is unknown, expired or withdrawn; ask your operator for one.")
    limit = facts.get("requests_per_s", 0)
    if limit and (wait_s := _spent(cell, facts["tenant"], limit)):
        raise too_many_requests(limit, wait_s)
    return Caller(
        facts["tenant"], facts["role"], facts.get("most_sessions", 0), facts.get("weight", 1.0)
    )


def _spent(cell: Cell, tenant: str, limit: int) -> float:
    """Seconds to wait; while the store is away nobody counts."""
    try:
        return cell.store.spend(tenant, limit)
    except StoreAway:
        return 0.0
