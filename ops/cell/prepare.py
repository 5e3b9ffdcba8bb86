"""Makes the tables and the first keys, in a process with the functions' environment.

Run as ``python -m ops.cell.prepare TENANT``; prints ``{"client": KEY, "operator": KEY}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ops.cell.files import ROOT
from ops.cell.supervisor import PartError

TENANT = "demo"
_GIVEN = "RAPIDO_GIVEN_KEYS"


@dataclass(frozen=True)
class Keys:
    """One key of each role."""

    client: str
    operator: str


def make_keys() -> Keys:
    """Keys for several cells at once: a client's key opens every cell."""
    from control.services.access import new_key

    return Keys(new_key(), new_key())


def prepare(
    environment: Mapping[str, str], tenant: str = TENANT, given: Keys | None = None
) -> Keys:
    """Makes tables and keys (or takes the ``given`` ones) where ``environment`` says.

    Raises:
        PartError: the database or the store refused; the message holds the reason.
    """
    result = subprocess.run(
        [sys.executable, "-m", "ops.cell.prepare", tenant],
        env={**environment, **({_GIVEN: json.dumps(asdict(given))} if given else {})},
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
    given = json.loads(os.environ.get(_GIVEN, "{}"))
    keys = {
        "client": create_key(tenant, "client", given.get("client")),
        "operator": create_key(tenant, "operator", given.get("operator")),
    }
    print(json.dumps(keys))


if __name__ == "__main__":
    main(sys.argv[1])
