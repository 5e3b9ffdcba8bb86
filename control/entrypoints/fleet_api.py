"""What the fleet's planner decided, and what that cost, over HTTP."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from chalice.app import Blueprint

from control.contracts.cell import MOST_PLANS, Banned, FleetPlans
from control.contracts.cost import FleetCost
from control.domain.errors import Fault, invalid
from control.entrypoints.at_home import by_home
from control.entrypoints.http import Answer, Call, endpoint
from control.services import cost_report, plans

blueprint = Blueprint(__name__)
_COST = "/api/v1/fleet/cost"


@endpoint(
    blueprint, "GET", "/api/v1/fleet/plans", auth="operator", answers={200: FleetPlans},
    query={
        "limit": f"how many, 1 to {MOST_PLANS}; 1 is the newest alone",
        "before": "only plans of before that time, Unix seconds",
    },
)  # fmt: skip
def show_plans(call: Call) -> Answer:
    """What was planned, newest first, with all it was decided from; and what stands now."""
    limit, before_s = _limit(call.query.get("limit", "1")), _before(call.query.get("before"))
    store = call.cell.store
    found, more = plans.page(call.cell, limit, before_s)
    now_s = store.observe().now_ms / 1000
    bans = {pool: ban for pool, ban in store.bans().items() if ban.until_s > now_s}
    return Answer(
        200,
        FleetPlans(
            plans=tuple(found),
            more=more,
            in_flight=store.flight(),
            banned={
                pool: Banned(until=datetime.fromtimestamp(ban.until_s, UTC), reason=ban.reason)
                for pool, ban in bans.items()
            },
            reports=tuple(store.reports(limit)),
        ),
    )


def _limit(text: str) -> int:
    """Raises invalid-request."""
    if re.fullmatch("[0-9]{1,4}", text) and 1 <= int(text) <= MOST_PLANS:
        return int(text)
    raise invalid(Fault("limit", f"is not 1 to {MOST_PLANS}", "send such a number, or none"))


def _before(text: str | None) -> float | None:
    """Raises invalid-request."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return float(text)
    raise invalid(Fault("before", "is no Unix time", "send at_s of a plan, or nothing"))


@endpoint(
    blueprint, "GET", _COST, auth="operator", answers={200: FleetCost},
    query={
        "from": f"the first day, UTC, as 2027-01-31; {cost_report.USUAL_DAYS} days before to",
        "to": f"the last day, UTC; today. At most {cost_report.MOST_DAYS} days",
        "by": "pool, region, tenant or lesson; pool",
    },
)  # fmt: skip
def show_cost(call: Call) -> Answer:
    """What all cells' nodes cost, and what the published policy would have paid: any cell takes
    the call, the home cell knows."""
    ask = cost_report.asked(call.query, datetime.now(UTC))
    if (answer := by_home(call, "fleet's cost", "GET", _COST)) is not None:
        return answer
    return Answer(200, cost_report.report(call.cell, ask))
