"""A template after SAM's own transform: the roles and permissions that will really be there."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml

_UPLOADED = "s3://packages/uploaded"
_PYTHON = ROOT / ".venv-sam" / "bin" / "python"
# In SAM's own environment, whose pins are not ours. The region is for names: nothing is called.
_TRANSFORM = """
import boto3, json, sys
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
template, parameters = json.load(sys.stdin)
translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
json.dump(translator.translate(template, parameters, get_managed_policy_map=dict), sys.stdout)
"""


@cache
def transformed(path: Path) -> dict[str, Any]:
    """The plain CloudFormation template; do not change it.

    SAM wants uploaded packages, so local ones are given an address, and each state machine carries
    its definition. Raises ValueError, with SAM's words, of a template that it refuses.
    """
    source = read_yaml(path)
    if "Transform" not in source:
        return source
    assert _PYTHON.exists(), "SAM is not installed: run make check once"
    for resource in source["Resources"].values():
        _upload(resource.get("Properties") or {}, path.parent)
    shared = source.get("Globals", {}).get("Function", {})
    if "CodeUri" in shared:
        shared["CodeUri"] = _UPLOADED
    examples = {name: _example(one) for name, one in source.get("Parameters", {}).items()}
    done = subprocess.run(
        [_PYTHON, "-c", _TRANSFORM],
        input=json.dumps([source, examples]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{path.name}: SAM refuses it: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _upload(properties: dict[str, Any], folder: Path) -> None:
    if "CodeUri" in properties:
        properties["CodeUri"] = _UPLOADED
    if "DefinitionUri" in properties:
        text = (folder / properties.pop("DefinitionUri")).read_text(encoding="utf-8")
        properties["Definition"] = json.loads(text)


def _example(parameter: dict[str, Any]) -> Any:
    return parameter.get("Default", parameter.get("AllowedValues", ["example"])[0])
