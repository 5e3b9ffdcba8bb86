"""Makes the tables and the first keys, in a process with the functions' environment.

Run as ``python -m ops.cell.prepare TENANT``; prints ``{"client": KEY, "operator": KEY}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ops.cell.files import ROOT
from ops.cell.supervisor import PartError

TENANT = "demo"


@dataclass(frozen=True)
class Keys:
    """One key of each role."""

    client: str
    operator: str


def prepare(environment: Mapping[str, str], tenant: str = TENANT) -> Keys:
    """Makes tables and keys where ``environment`` says.

    Raises:
        PartError: the database or the store refused; the message holds the reason.
    """
    result = subprocess.run(
        [sys.executable, "-m", "ops.cell.prepare", tenant],
        env=dict(environment),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise PartError(f"tables and keys could not be made:\n{result.stderr[-1500:]}")
    return Keys(**json.loads(result.stdout.splitlines()[-1]))


def main(tenant: str) -> None:
    """Does the work and prints the keys."""
    from control.adapters.records import migrate
    from control.bootstrap import create_key

    migrate(os.environ["RAPIDO_DATABASE_URL"])
    keys = {"client": create_key(tenant, "client"), "operator": create_key(tenant, "operator")}
    print(json.dumps(keys))


if __name__ == "__main__":
    main(sys.argv[1])
