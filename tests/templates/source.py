"""The control plane's own text: definitions by function, and which AWS services it calls."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType

from ops.cell.files import ROOT
from tests.templates import iam

_OF_BOTO3 = ("client", "resource", "Session", "session")
_CALLS_FOR_US = "aws_lambda_powertools.utilities"


class WalkError(Exception):
    """A way to AWS that the walk cannot follow; the message says where and what to write."""


@cache
def tree_of(path: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def definitions(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods by qualified name; nested ones are part of the outer."""
    found = {}
    pending: list[tuple[str, ast.AST]] = [("", tree_of(path))]
    while pending:
        prefix, node = pending.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + child.name] = child
            elif isinstance(child, ast.ClassDef):
                pending.append((f"{prefix}{child.name}.", child))
            elif isinstance(child, ast.If | ast.Try | ast.With):
                pending.append((prefix, child))
    return found


def definition_of(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """None for one that has no text here, as those that dataclasses make."""
    return definitions(path_of(function)).get(function.__qualname__)


def path_of(function: FunctionType) -> Path:
    """Its file."""
    return Path(str(sys.modules[function.__module__].__file__))


def place_of(path: Path, node: ast.AST) -> str:
    """As an editor jumps to it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


@cache
def services(folder: Path) -> dict[str, frozenset[str]]:
    """The AWS services that clients are made of there, each with its clients' methods.

    Raises WalkError where one is not named by a literal, is made when a module loads, or where a
    library is used that makes its own.
    """
    found: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        tree = tree_of(path)
        factories = _factories(path)
        for node in ast.walk(tree):
            _check_imports(path, node)
        for name, definition in definitions(path).items():
            if "." in name and _makes_what_is_asked(definition):
                raise WalkError(f"{place_of(path, definition)}: let a function make clients")
            for call in ast.walk(definition):
                if isinstance(call, ast.Call) and _makes(call.func, factories):
                    found |= set(_made(path, call, inside=name in factories))
        for call in _calls_at_load(tree):
            if _makes(call.func, factories):
                raise WalkError(f"{place_of(path, call)}: make clients inside functions")
    return {name: iam.methods(name) for name in found}


def _factories(path: Path) -> set[str]:
    """Functions here, and those imported from other files of ours, that make the client that they
    are asked for."""
    found = {name for name, one in definitions(path).items() if _makes_what_is_asked(one)}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("control."):
            file = ROOT / f"{str(node.module).replace('.', '/')}.py"
            theirs = definitions(file) if file.exists() else {}
            names = {one.name for one in node.names} & set(theirs)
            found |= {name for name in names if _makes_what_is_asked(theirs[name])}
    return found


def _makes_what_is_asked(definition: ast.AST) -> bool:
    literal = {
        call.func
        for call in ast.walk(definition)
        if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant)
    }
    return any(_makes(one, set()) and one not in literal for one in ast.walk(definition))


def _makes(function: ast.AST, factories: set[str]) -> bool:
    """Whether it is botocore's or boto3's way to a client, or one of ours."""
    if isinstance(function, ast.Name):
        return function.id in factories
    if not isinstance(function, ast.Attribute):
        return False
    of_boto3 = isinstance(function.value, ast.Name) and function.value.id == "boto3"
    return function.attr == "create_client" or (of_boto3 and function.attr in _OF_BOTO3)


def _made(path: Path, call: ast.Call, *, inside: bool) -> Iterator[str]:
    service = call.args[0] if call.args else None
    if isinstance(service, ast.Constant):
        yield str(service.value)
    elif not inside:
        raise WalkError(f"{place_of(path, call)}: name the service with a literal")


def _check_imports(path: Path, node: ast.AST) -> None:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
    if any(name.startswith(_CALLS_FOR_US) for name in names):
        raise WalkError(f"{place_of(path, node)}: {_CALLS_FOR_US} calls AWS unseen by the walk")


def _calls_at_load(module: ast.Module) -> Iterator[ast.Call]:
    pending: list[ast.AST] = [module]
    while pending:
        for child in ast.iter_child_nodes(pending.pop()):
            if isinstance(child, ast.Call):
                yield child
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                pending.append(child)


def name_of(function: ast.expr) -> str:
    """The last name of what is called."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def parameters_of(definition: ast.AST) -> set[str]:
    """Its own and those of functions in it."""
    return {one.arg for one in ast.walk(definition) if isinstance(one, ast.arg)}
