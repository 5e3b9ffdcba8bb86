"""A template after SAM's own transform: the roles and permissions that will really be there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml

TEMPLATES = (ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml")))
_UPLOADED = "s3://packages/uploaded"


@cache
def transformed(path: Path) -> dict[str, Any]:
    """The plain CloudFormation template; do not change it.

    SAM wants uploaded packages, so local ones are given an address, and each state machine carries
    its definition. Raises what SAM raises of a template that it refuses.
    """
    source = read_yaml(path)
    if "Transform" not in source:
        return source
    for resource in source["Resources"].values():
        _upload(resource.get("Properties") or {}, path.parent)
    shared = source.get("Globals", {}).get("Function", {})
    if "CodeUri" in shared:
        shared["CodeUri"] = _UPLOADED
    examples = {name: _example(one) for name, one in source.get("Parameters", {}).items()}
    # the session gives a region only: nothing is called
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    result: dict[str, Any] = translator.translate(
        source, examples, passthrough_metadata=True, get_managed_policy_map=dict
    )
    return result


def _upload(properties: dict[str, Any], folder: Path) -> None:
    if "CodeUri" in properties:
        properties["CodeUri"] = _UPLOADED
    if "DefinitionUri" in properties:
        text = (folder / properties.pop("DefinitionUri")).read_text(encoding="utf-8")
        properties["Definition"] = json.loads(text)


def _example(parameter: dict[str, Any]) -> Any:
    return parameter.get("Default", parameter.get("AllowedValues", ["example"])[0])


def sources(kind: str) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Every resource of that type as written: its template, logical id and itself."""
    for path in TEMPLATES:
        for name, resource in read_yaml(path)["Resources"].items():
            if resource["Type"] == kind:
                yield path, name, copy.deepcopy(resource)
