"""Where regions are, and how far things are from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True)
class Point:
    """Degrees."""

    latitude: float
    longitude: float


REGIONS = {
    "us-east-1": Point(38.9, -77.4),
    "us-east-2": Point(40.0, -83.0),
    "us-west-1": Point(37.4, -121.9),
    "us-west-2": Point(45.8, -119.7),
    "ca-central-1": Point(45.5, -73.6),
    "sa-east-1": Point(-23.5, -46.6),
    "eu-west-1": Point(53.3, -6.3),
    "eu-west-2": Point(51.5, -0.1),
    "eu-west-3": Point(48.9, 2.4),
    "eu-central-1": Point(50.1, 8.7),
    "eu-north-1": Point(59.3, 18.1),
    "eu-south-1": Point(45.5, 9.2),
    "me-south-1": Point(26.1, 50.6),
    "af-south-1": Point(-33.9, 18.4),
    "ap-south-1": Point(19.1, 72.9),
    "ap-southeast-1": Point(1.3, 103.8),
    "ap-southeast-2": Point(-33.9, 151.2),
    "ap-northeast-1": Point(35.7, 139.7),
    "ap-northeast-2": Point(37.6, 127.0),
}


def distance_km(a: Point, b: Point) -> float:
    """Great-circle distance, by the haversine formula on a sphere of 6371 km."""
    phi_a, phi_b = math.radians(a.latitude), math.radians(b.latitude)
    half_lat = (phi_b - phi_a) / 2
    half_lon = math.radians(b.longitude - a.longitude) / 2
    h = math.sin(half_lat) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def rtt_ms(a: Point, b: Point) -> float:
    """Expected round trip: 8 ms and 15 µs a kilometre."""
    return 8.0 + 0.015 * distance_km(a, b)


def hours_from_utc(at: Point) -> float:
    """By the sun, 15 degrees an hour: near enough to tell a place's nights and weekends."""
    return float(round(at.longitude / 15))
