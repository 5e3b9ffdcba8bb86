"""What is answered before moto sees it: the price list, which moto lacks, and the desk's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Request, Response

from ops.cell.aws_gaps import desk, groups, prices
from ops.cell.aws_gaps.bus import Bus

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]
_PRODUCTS = "AWSPriceListService.GetProducts"


class GapsFirst:
    """WSGI: answers those, hands everything else on."""

    def __init__(self, rest: Wsgi, at_desk: desk.Desk) -> None:
        self._rest = rest
        self._desk = at_desk
        self._prices = prices.shipped()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith(desk.PATH):
            return self._desk.answer(Request(environ))(environ, start_response)
        if environ.get("HTTP_X_AMZ_TARGET") == _PRODUCTS:
            body = json.loads(Request(environ).get_data())
            text = json.dumps(prices.price_list(body, self._prices))
            answer = Response(text, content_type="application/x-amz-json-1.1")
            return answer(environ, start_response)
        return self._rest(environ, start_response)


def with_groups(rest: Wsgi, bus: Bus, region: str, seed: int) -> Wsgi:
    """Groups, prices and the desk from now on; before moto serves its first request."""
    spot = prices.SpotPrices(prices.shipped())
    at_desk = desk.Desk(region, bus, spot, seed)
    groups.install(at_desk)
    prices.install(spot)
    return GapsFirst(rest, at_desk)
