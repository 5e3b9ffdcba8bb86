"""One function, read: what it mentions and what it asks AWS for."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from tests.templates import iam, names, source
from tests.templates.objects import UNKNOWN, Bound, Use, member, plain, reached_by
from tests.templates.source import WalkError, name_of

_SIGNERS = ("SigV4Auth", "SigV4QueryAuth")
_SIGNED = {
    "elasticache": "elasticache:Connect",
    "execute-api": "execute-api:Invoke",
    "rds-db": "rds-db:connect",
}


@dataclass(frozen=True)
class Wired:
    """The cell, the function that makes it, and the AWS services as source.services tells them."""

    cell: Any
    make_cell: FunctionType
    services: Mapping[str, frozenset[str]]


class Reader(ast.NodeVisitor):
    """Visits a definition; ``uses`` and ``reached`` are what was found."""

    def __init__(self, wired: Wired, bound: Bound, definition: ast.AST) -> None:
        self.uses: list[Use] = []
        self.reached: list[Bound] = []
        self._wired = wired
        self._name = bound.name
        self._owner = bound.owner
        self._module = sys.modules[bound.function.__module__]
        self._path = source.path_of(bound.function)
        self._wiring = bound.name in names.wiring(wired.make_cell)
        self._imported = names.imported_in(definition)
        self._local = names.local_names(definition) - set(self._imported)
        self._settings = names.settings_in(definition)

    def generic_visit(self, node: ast.AST) -> None:
        """A branch that the wired object's own settings rule out is not read."""
        for name, part in ast.iter_fields(node):
            if name in ("body", "orelse", "finalbody") and isinstance(part, list):
                self._block(part)
            else:
                for one in part if isinstance(part, list) else [part]:
                    if isinstance(one, ast.AST):
                        self.visit(one)

    def _block(self, statements: list[ast.stmt]) -> None:
        for one in statements:
            decided = self._truth(one.test) if isinstance(one, ast.If) else None
            if decided is None or not isinstance(one, ast.If):
                self.visit(one)
                continue
            self.visit(one.test)
            taken = one.body if decided else one.orelse
            self._block(taken)
            if taken and isinstance(taken[-1], ast.Return | ast.Raise):
                return

    def visit_Call(self, node: ast.Call) -> None:
        """Signatures, calls of clients, and calls of objects."""
        function = node.func
        if name_of(function) in _SIGNERS or self._signs(function):
            self._signed(node)
        service = self._service(function) if isinstance(function, ast.Attribute) else None
        if service is None or not isinstance(function, ast.Attribute):
            self._mention(function, called=True)
        else:
            given = {one.arg: self._value(one.value) for one in node.keywords if one.arg}
            texts = {key: value for key, value in given.items() if isinstance(value, str)}
            self._use(iam.action_of(service, function.attr), node, texts)
            self.visit(function.value)
        for rest in (*node.args, *node.keywords):
            self.visit(rest)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Whether there is one is no use of it."""
        nothing = [isinstance(o, ast.Constant) and o.value is None for o in node.comparators]
        if not all(nothing) or self._value(node.left) is UNKNOWN:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A method that is handed on may be called later."""
        if service := self._service(node):
            self._use(iam.action_of(service, node.attr), node, {})
        self._mention(node, called=False)

    def visit_Name(self, node: ast.Name) -> None:
        """A function or object that is handed on."""
        self._mention(node, called=False)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Methods called by name, as paginators' and getattr's are."""
        for service, methods in self._wired.services.items():
            if isinstance(node.value, str) and node.value in methods:
                self._use(iam.action_of(service, node.value), node, {})

    def _service(self, node: ast.Attribute) -> str | None:
        """Whose method this is, by its name; the program makes few clients."""
        known = [name for name, methods in self._wired.services.items() if node.attr in methods]
        if len(known) > 1:
            raise WalkError(
                f"{source.place_of(self._path, node)}: {node.attr} is a method of "
                f"{' and '.join(sorted(known))}; the walk cannot tell which client it is"
            )
        return known[0] if known else None

    def _signs(self, function: ast.expr) -> bool:
        """Whether it is one of ours that signs for the service it is given."""
        value = self._value(function)
        known = value if isinstance(value, Bound) else Bound(plain(value))
        return isinstance(known.function, FunctionType) and known.name in names.signers(_SIGNERS)

    def _signed(self, node: ast.Call) -> None:
        literals = [one.value for one in node.args if isinstance(one, ast.Constant)]
        known = [_SIGNED[str(one)] for one in literals if one in _SIGNED]
        for action in known:
            self._use(action, node, {})
        if not known and self._name not in names.signers(_SIGNERS):
            where = source.place_of(self._path, node)
            raise WalkError(f"{where}: sign for one of {', '.join(_SIGNED)}, as a literal")

    def _use(self, action: str, node: ast.AST, arguments: Mapping[str, str]) -> None:
        self.uses.append(Use(action, source.place_of(self._path, node), (), arguments))

    def _mention(self, node: ast.expr, *, called: bool) -> None:
        value = self._value(node)
        if value is UNKNOWN:
            base = self._value(node.value) if isinstance(node, ast.Attribute) else UNKNOWN
            if base is not UNKNOWN and not isinstance(base, Bound):
                return  # data of a known object, which itself is not handed on
            for below in ast.iter_child_nodes(node):
                self.visit(below)
        else:
            self.reached += reached_by(value, called=called, wiring=self._wiring)

    def _truth(self, test: ast.expr) -> bool | None:
        """Of a setting: an attribute that is a plain bool, or a variable of the environment."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand)
            return None if inner is None else not inner
        if isinstance(test, ast.Name) and test.id in self._settings:
            return bool(self._value(self._settings[test.id]))
        if isinstance(test, ast.Attribute) and names.set_at_birth(self._path, test.attr):
            value = self._value(test)
            return value if isinstance(value, bool) else None
        return None

    def _value(self, node: ast.expr) -> Any:
        """The object that an expression is, where text and wiring say so."""
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Attribute):
            base = self._value(node.value)
            if base is UNKNOWN:
                return self._wired.cell if node.attr == "cell" else UNKNOWN
            return member(base, node.attr)
        if isinstance(node, ast.Call):
            if (name := names.setting(node)) is not None:
                return os.environ.get(name)
            if plain(self._value(node.func)) is self._wired.make_cell:
                return self._wired.cell
        return UNKNOWN

    def _named(self, name: str) -> Any:
        if name == "self" and self._owner is not None:
            return self._owner
        if name in self._imported:
            return self._imported[name]
        if name in self._settings:
            return self._value(self._settings[name])
        if name in self._local:
            return self._wired.cell if name == "cell" else UNKNOWN
        return vars(self._module).get(name, UNKNOWN)
