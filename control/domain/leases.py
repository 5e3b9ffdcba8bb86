"""The times that leases and workers live by."""

from __future__ import annotations

UNCONFIRMED_TTL_S = 15.0
"""A lease whose stream has not shown its first frame by then is gone."""
LIVE_TTL_S = 3600.0
"""A confirmed lease; heartbeats of the worker that runs it renew it."""
SESSION_TTL_S = 6 * 3600.0
"""The longest lesson: room tokens end then."""
FINISHED_TTL_S = 24 * 3600.0
"""How long a finished session can still be read from the store."""
HEARTBEAT_INTERVAL_S = 5.0
DEAD_AFTER_S = 15.0
QUIET_AFTER_S = 6.0
"""No worker at all was heard for longer: the store was away, not they."""
MAX_PLACEMENTS = 3
UNDRIVEN_AFTER_S = 3.0
"""A session that still starts after this is started again: the execution's name makes it safe."""
TICKET_TTL_S = 30.0
"""A queued session that nobody asks for this long leaves the queue."""
MOST_QUEUED = 10_000
"""Sessions that may wait in a cell's queue."""
MISSING_RUN_S = 15.0
"""A live lease that its worker does not name this long is not run: it is lost."""
