"""What nodes cost: EC2's spot price history and the price list, by the tables of deployments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2 import urls
from moto.ec2.responses import EC2Response

from ops.deploy.cost import Prices, read_prices

_LINUX = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
_LETTERS = "abcdef"


class SpotPrices:
    """Of one process; ``change`` is for whoever tries what a planner makes of a price."""

    def __init__(self, prices: Prices) -> None:
        self._spot = {
            (kind, f"{region}{letter}"): usd_h
            for (kind, region), zones in prices.spot.items()
            for letter, usd_h in zip(_LETTERS, zones, strict=False)
        }

    def change(self, kind: str, zone: str, usd_h: float) -> None:
        """From now on."""
        self._spot[kind, zone] = usd_h

    def of(self, kind: str, zone: str) -> float | None:
        """Dollars an hour; None where that is not known."""
        return self._spot.get((kind, zone))

    def cheapest_first(self, kind: str, zones: Sequence[str]) -> list[str]:
        """Zones without a price come last."""
        return sorted(zones, key=lambda zone: self._spot.get((kind, zone), float("inf")))

    def history(self, region: str, at: datetime) -> Iterator[dict[str, Any]]:
        """One price a type and zone: the one of now."""
        for (kind, zone), usd_h in sorted(self._spot.items()):
            if zone[:-1] == region:
                yield {
                    "AvailabilityZone": zone,
                    "InstanceType": kind,
                    "ProductDescription": "Linux/UNIX",
                    "SpotPrice": f"{usd_h:.6f}",
                    "Timestamp": at,
                }


def price_list(body: dict[str, Any], prices: Prices) -> dict[str, Any]:
    """GetProducts' answer for EC2: each product a JSON text, as AWS gives it."""
    wanted = {one["Field"]: one["Value"] for one in body.get("Filters", ())}
    found = []
    for (kind, region), usd_h in sorted(prices.on_demand.items()):
        attributes = {
            "instanceType": kind,
            "regionCode": region,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            "marketoption": "OnDemand",
            "servicecode": "AmazonEC2",
        }
        asked = {key: value for key, value in wanted.items() if key in attributes}
        if all(attributes[key] == value for key, value in asked.items()):
            found.append(json.dumps(_product(attributes, usd_h)))
    return {"FormatVersion": "aws_v1", "PriceList": found}


def _product(attributes: dict[str, str], usd_h: float) -> dict[str, Any]:
    sku = f"{attributes['instanceType']}-{attributes['regionCode']}"
    price = {
        "rateCode": f"{sku}.1.1",
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "pricePerUnit": {"USD": f"{usd_h:.10f}"},
    }
    term = {
        "sku": sku,
        "offerTermCode": "1",
        "priceDimensions": {price["rateCode"]: price},
        "termAttributes": {},
    }
    return {
        "product": {"sku": sku, "productFamily": "Compute Instance", "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{sku}.1": term}},
    }


class Ec2Calls(EC2Response):
    """moto gives one constant price, for every machine of the world, as of 2006."""

    spot: SpotPrices

    def describe_spot_price_history(self) -> ActionResult:
        """Of the types, zones and products asked for."""
        filters = self._filters_from_querystring()
        kinds = self._get_param("InstanceTypes", []) or filters.get("instance-type", [])
        zone = self._get_param("AvailabilityZone")
        zones = [zone] if zone else filters.get("availability-zone", [])
        products = self._get_param("ProductDescriptions", []) or filters.get(
            "product-description", []
        )
        found = [
            one
            for one in self.spot.history(self.region, datetime.now(UTC))
            if (not kinds or one["InstanceType"] in kinds)
            and (not zones or one["AvailabilityZone"] in zones)
            and (not products or set(products) & set(_LINUX))
        ]
        return ActionResult({"SpotPriceHistory": found, "NextToken": ""})


def install(spot: SpotPrices) -> None:
    """EC2 answers with these from now on; to be called before its first request."""
    Ec2Calls.spot = spot
    for path, handler in urls.url_paths.items():
        if getattr(handler, "__self__", None) is EC2Response:
            urls.url_paths[path] = Ec2Calls.dispatch


def shipped() -> Prices:
    """The prices that estimates of deployments go by."""
    return read_prices()
