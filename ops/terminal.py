"""How every command prints."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console()
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None, typer.Option(help="The cell's address; else RAPIDO_URL, else the one up.")
]
Key = Annotated[
    str | None,
    typer.Option(
        help="Your key; else RAPIDO_KEY (operators: RAPIDO_OPERATOR_KEY), else that of the one up."
    ),
]


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """A command's result: a line a field, or JSON."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return
    for key, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if k != "token")
        console.print(f"{key:<14} {value}", markup=False, highlight=False, overflow="fold")


def tell(line: str) -> None:
    """A line of progress."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_fault(error: Exception) -> None:
    """What went wrong, in one line."""
    console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
