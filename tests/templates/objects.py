"""Values as the walk sees them: functions with whom they are asked of, classes, wired objects."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

UNKNOWN = object()
"""A value that neither text nor wiring tells."""


@dataclass(frozen=True)
class Use:
    """An action that is called, where, on the way from where, with which literal arguments."""

    action: str
    where: str
    way: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, eq=False)
class Bound:
    """A function, and for a method the instance or class it is asked of."""

    function: FunctionType
    owner: Any = None

    @property
    def name(self) -> str:
        """With its module."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


def is_ours(thing: Any) -> bool:
    """Whether the control plane defines that function or class."""
    name = getattr(thing, "__module__", None)
    return isinstance(name, str) and name.startswith("control.")


def plain(value: Any) -> Any:
    """The function inside properties, caches, wrappers and class methods."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    elif isinstance(value, staticmethod | classmethod):
        value = value.__func__
    return inspect.unwrap(value) if callable(value) else value


def member(base: Any, name: str) -> Any:
    """``base.name`` without running anything: a property is its function."""
    if isinstance(base, ModuleType):
        return vars(base).get(name, UNKNOWN)
    kind = base if isinstance(base, type) else type(base)
    if not is_ours(kind):
        return UNKNOWN
    function = plain(inspect.getattr_static(kind, name, None))
    if isinstance(function, FunctionType):
        return Bound(function, base)
    return getattr(base, "__dict__", {}).get(name, UNKNOWN)


def reached_by(value: Any, *, called: bool, wiring: bool) -> Iterator[Bound]:
    """What can be called of a value that a function mentions.

    The cell's own wiring makes adapters and asks nothing of them; an object that is handed on, and
    a class made elsewhere, may be asked anything.
    """
    if isinstance(value, Bound):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from reached_by(one, called=True, wiring=wiring)
    elif isinstance(value, type):
        yield from _methods(value, value, "__init__" if wiring else None)
    elif isinstance(function := plain(value), FunctionType):
        yield Bound(function)
    elif not isinstance(value, ModuleType):
        yield from _methods(type(value), value, "__call__" if called else None)


def _methods(kind: type, owner: Any, only: str | None) -> Iterator[Bound]:
    for one in kind.__mro__:
        if not is_ours(one):
            continue
        for name, value in vars(one).items():
            function = plain(value)
            if isinstance(function, FunctionType) and only in (None, name):
                yield Bound(function, owner)
