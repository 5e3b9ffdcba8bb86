"""What `make package` built, as a deploy sends it to a region."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ops.deploy.here import BUILT
from ops.deploy.packaging import Packager
from ops.package import ZIP
from tests.fake_cloud import FakeCloud

_NAMING = ("CodeUri", "ContentUri", "DefinitionUri", "TemplateURL")


def _named(data: Any) -> Iterator[tuple[str, str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key in _NAMING:
                yield key, value
            yield from _named(value)
    elif isinstance(data, list):
        for one in data:
            yield from _named(one)


def test_everything_that_the_built_template_names_is_sent_and_nothing_twice() -> None:
    cloud = FakeCloud()
    bucket = cloud.buckets["b"] = {}
    objects = cloud.region("us-east-1").objects
    packager = Packager(BUILT)

    first, again = (packager.upload(objects, "b", "us-east-1") for _ in range(2))

    addresses, seen = [first.template_url], []
    while addresses:
        key = addresses.pop().removeprefix("https://b.s3.us-east-1.amazonaws.com/")
        for name, value in _named(json.loads(bucket[key].body)):
            seen.append(name)
            if name == "TemplateURL":
                addresses.append(value)
            else:
                assert value.removeprefix("s3://b/") in bucket, f"{name} {value} was not sent"
    assert {"CodeUri", "DefinitionUri", "TemplateURL"} == set(seen)
    assert ZIP.read_bytes() in [one.body for one in bucket.values()]
    assert (first.sent, again.sent) == (len(bucket), 0)
