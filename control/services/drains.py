"""Nodes that are to go: nothing new on them, and no end before their last lesson's."""

from __future__ import annotations

from control.services.ports import Cell, Hook


def fence(cell: Cell, node_id: str) -> bool:
    """No new lease on that node from now on; False where no worker of ours runs on it."""
    return cell.store.drain(node_id)


def left(cell: Cell, hook: Hook) -> int:
    """Leases that live on the node yet; while there are any, its hook is kept from ending.

    A lease ends with its lesson, or with its worker: of a dead one none is left.
    """
    lessons = cell.store.used(hook.node_id)
    if lessons and cell.groups is not None and not cell.groups.extend(hook):
        return 0
    return lessons


def let_go(cell: Cell, hook: Hook) -> bool:
    """Its group may terminate it; False where that was said before or it is gone."""
    return cell.groups is not None and cell.groups.let_go(hook)
