"""What the fleet cost, over HTTP: any cell takes the call, the home cell knows all of them."""

from __future__ import annotations

from datetime import UTC, datetime

from chalice.app import Blueprint

from control.contracts.cost import FleetCost
from control.entrypoints.at_home import by_home
from control.entrypoints.http import Answer, Call, endpoint
from control.services import cost_report

blueprint = Blueprint(__name__)
_PATH = "/api/v1/fleet/cost"


@endpoint(
    blueprint, "GET", _PATH, auth="operator", answers={200: FleetCost},
    query={
        "from": f"the first day, UTC, as 2027-01-31; {cost_report.USUAL_DAYS} days before to",
        "to": f"the last day, UTC; today. At most {cost_report.MOST_DAYS} days",
        "by": "pool, region, tenant or lesson; pool",
    },
)  # fmt: skip
def show_cost(call: Call) -> Answer:
    """What all cells' nodes cost, and what the published policy would have paid."""
    ask = cost_report.asked(call.query, datetime.now(UTC))
    if (answer := by_home(call, "fleet's cost", "GET", _PATH)) is not None:
        return answer
    return Answer(200, cost_report.report(call.cell, ask))
