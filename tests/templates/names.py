"""What the names in a function stand for, as far as its text says."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from ops.cell.files import ROOT
from tests.templates.source import definitions, name_of, path_of


@cache
def imported_in(definition: ast.AST) -> dict[str, Any]:
    """What of ours the function imports itself, by the names it uses."""
    found: dict[str, Any] = {}
    for node in ast.walk(definition):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("control"):
            continue
        module = importlib.import_module(str(node.module))
        for one in node.names:
            value = getattr(module, one.name, None)
            if value is None:
                value = importlib.import_module(f"{node.module}.{one.name}")
            found[one.asname or one.name] = value
    return found


@cache
def local_names(definition: ast.AST) -> set[str]:
    """Parameters and what is assigned in the function itself."""
    found: set[str] = set()
    pending: list[ast.AST] = [definition]
    while pending:
        for child in ast.iter_child_nodes(pending.pop()):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(child.name)
                continue
            if isinstance(child, ast.arg):
                found.add(child.arg)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                found.add(child.id)
            if isinstance(child, ast.Import | ast.ImportFrom):
                found |= {(one.asname or one.name).split(".")[0] for one in child.names}
            if not isinstance(child, ast.Lambda):
                pending.append(child)
    return found


def setting(call: ast.Call) -> str | None:
    """The variable that ``os.environ.get("X")`` reads."""
    match call:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Attribute(value=ast.Name(id="os"), attr="environ"), attr="get"
            ),
            args=[ast.Constant(value=name), *_],
        ):
            return str(name)
    return None


@cache
def settings_in(definition: ast.AST) -> dict[str, ast.Call]:
    """Names that are assigned once, from a variable of the environment."""
    stored = [one for one in ast.walk(definition) if isinstance(one, ast.Name)]
    names = [one.id for one in stored if isinstance(one.ctx, ast.Store)]
    found = {}
    for node in ast.walk(definition):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        target = node.targets[0]
        if setting(node.value) and isinstance(target, ast.Name) and names.count(target.id) == 1:
            found[target.id] = node.value
    return found


@cache
def set_at_birth(path: Path, attribute: str) -> bool:
    """Whether no method but ``__init__`` assigns that attribute in the file."""
    return not any(
        isinstance(node, ast.Attribute)
        and node.attr == attribute
        and not isinstance(node.ctx, ast.Load)
        for name, definition in definitions(path).items()
        if not name.endswith("__init__")
        for node in ast.walk(definition)
    )


@cache
def signers(primitives: tuple[str, ...]) -> frozenset[str]:
    """Functions of ours that sign for the service that their caller names."""
    return frozenset(
        f"{_module_of(path)}.{name}"
        for path in sorted((ROOT / "control").rglob("*.py"))
        for name, definition in definitions(path).items()
        for call in ast.walk(definition)
        if isinstance(call, ast.Call)
        and name_of(call.func) in primitives
        and not any(isinstance(one, ast.Constant) for one in call.args)
    )


@cache
def wiring(make_cell: FunctionType) -> frozenset[str]:
    """``make_cell`` and what it calls of its own module."""
    known = definitions(path_of(make_cell))
    found: set[str] = set()
    pending = [make_cell.__qualname__]
    while pending:
        name = pending.pop()
        if name in known and name not in found:
            found.add(name)
            pending += _names([known[name]])
    return frozenset(f"{make_cell.__module__}.{name}" for name in found)


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    return {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}
