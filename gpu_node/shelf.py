"""The avatars of this process, each loaded once."""

from __future__ import annotations

import asyncio

from gpu_node.avatars.package import Avatar, available, load_avatar
from gpu_node.compositor import Compositor
from gpu_node.inference import Inference


class Shelf:
    """Avatars by name, with what puts them together."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._loaded: dict[str, asyncio.Task[tuple[Avatar, Compositor]]] = {}

    def names(self) -> tuple[str, ...]:
        """The avatars this worker can show."""
        return tuple(available())

    async def get(self, name: str) -> tuple[Avatar, Compositor]:
        """The avatar, ready in the engine. Raises AvatarError."""
        task = self._loaded.get(name)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(self._load(name))
            self._loaded[name] = task
        return await asyncio.shield(task)

    async def _load(self, name: str) -> tuple[Avatar, Compositor]:
        avatar = await asyncio.to_thread(load_avatar, name)
        compositor = await asyncio.to_thread(Compositor, avatar)
        await self._inference.prepare(avatar, compositor)
        return avatar, compositor
