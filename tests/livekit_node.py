"""What infra/livekit.yaml writes on a node, as CloudFormation and the node's shell fill it in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops.cell.intrinsics import Resolver, pseudo_parameters, read_yaml

TEMPLATE = Path(__file__).parents[1] / "infra" / "livekit.yaml"
ADDRESS = "203.0.113.7"
PAIR = {"livekit_api_key": "rapido-euc1", "livekit_api_secret": "k" * 48}
PASSWORD = "p" * 64
_SECRETS = {"arn:keys": json.dumps(PAIR), "arn:password": PASSWORD}


def template() -> dict[str, Any]:
    return read_yaml(TEMPLATE)


def user_data() -> str:
    """The script that a node runs at its start."""
    read = template()
    names = {
        **pseudo_parameters("eu-central-1"),
        **{name: one["Default"] for name, one in read["Parameters"].items() if "Default" in one},
        "CellName": "euc1",
        "ViewerHost": "rapido.example.com",
        "Keys": "arn:keys",
        "StorePassword": "arn:password",
        "LogGroup": "/rapido/euc1/livekit",
    }
    attributes = {
        "Store.PrimaryEndPoint.Address": "master.store.example.com",
        "Store.PrimaryEndPoint.Port": 6379,
    }
    raw = read["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]
    text = Resolver(names, attributes).value(raw["Fn::Base64"], "UserData")
    assert isinstance(text, str)
    return text


def file_of(script: str, path: str) -> str:
    """What the script's here-document writes to that path."""
    found = re.search(rf"^cat >{re.escape(path)} <<'?END'?\n(.*?)^END$", script, re.M | re.S)
    assert found is not None, f"nothing is written to {path}"
    return found[1]


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which these shell scripts are found before the machine's programs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def written_config(folder: Path) -> Path:
    """The server's configuration, made by the node's own program with secrets of ours."""
    program = folder / "livekit-config"
    program.write_text(file_of(user_data(), "/usr/local/bin/livekit-config"), encoding="utf-8")
    cases = "\n".join(f"*{arn}*) echo '{value}' ;;" for arn, value in _SECRETS.items())
    environment = programs(folder / "bin", aws=f'case "$*" in\n{cases}\n*) exit 1 ;;\nesac')
    path = folder / "config.yaml"
    subprocess.run([sys.executable, program, ADDRESS, path], env=environment, check=True)
    return path
