"""What AWS asks for today: EC2's spot price history, and its price list for on demand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from control.adapters.aws import client
from control.services.scaling_ports import PriceList, PricesAway

_LISTED_IN = {"eu": "eu-central-1", "ap": "ap-south-1"}
"""The price list answers in three regions only; elsewhere the first one's is asked."""


class AwsPrices:
    """Of one region."""

    def __init__(self, region: str) -> None:
        self._region = region

    @cached_property
    def _ec2(self) -> Any:
        return client("ec2")

    @cached_property
    def _list(self) -> Any:
        return client("pricing", _LISTED_IN.get(self._region[:2], "us-east-1"))

    def now(self, types: Sequence[str]) -> PriceList:
        """A type or zone that AWS does not name is not in it."""
        from botocore.exceptions import BotoCoreError, ClientError

        at = datetime.now(UTC)
        try:
            spot = self._spot(types, at)
            on_demand = {name: usd for name in types if (usd := self._on_demand(name)) is not None}
        except (BotoCoreError, ClientError) as error:
            raise PricesAway(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise PricesAway(f"AWS's answer has another form: {error!r}") from error
        return PriceList(on_demand, spot, at.timestamp())

    def _spot(self, types: Sequence[str], at: datetime) -> dict[str, dict[str, float]]:
        """The price of a zone stands until another is told: the newest one before now is today's,
        however long ago it was set."""
        found: dict[str, dict[str, tuple[datetime, float]]] = {}
        pages = self._ec2.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=list(types),
            ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
            StartTime=at,
        )
        for page in pages:
            for one in page["SpotPriceHistory"]:
                zones = found.setdefault(one["InstanceType"], {})
                told = one["Timestamp"], float(one["SpotPrice"])
                zone = one["AvailabilityZone"]
                zones[zone] = max(zones.get(zone, told), told)
        return {
            name: {zone: usd for zone, (_, usd) in zones.items()} for name, zones in found.items()
        }

    def _on_demand(self, type_name: str) -> float | None:
        wanted = {
            "instanceType": type_name,
            "regionCode": self._region,
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Shared",
            "capacitystatus": "Used",
        }
        answer = self._list.get_products(
            ServiceCode="AmazonEC2",
            Filters=[{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()],
        )
        prices = [
            float(dimension["pricePerUnit"]["USD"])
            for product in answer["PriceList"]
            for term in json.loads(product)["terms"].get("OnDemand", {}).values()
            for dimension in term["priceDimensions"].values()
            if dimension["unit"] == "Hrs"
        ]
        return min(prices, default=None)
