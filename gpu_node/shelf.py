"""The avatars of this process, each loaded once, and let go of when nobody shows it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpu_node.avatars.package import NAME, Avatar, AvatarError, load_avatar
from gpu_node.avatars.scaling import scaled
from gpu_node.avatars.source import Source
from gpu_node.compositor import Compositor
from gpu_node.inference import Inference

Loaded = tuple[Avatar, Compositor]
_FRESH_S = 60.0
_MOST_NAMES = 1000
"""As many as a heartbeat may tell."""
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Entry:
    """One version of an avatar. ``users`` counts the streams that show it or wait for it."""

    name: str
    loading: asyncio.Task[Loaded]
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)
    path: Path | None = None


class Shelf:
    """Avatars by name, with what puts them together.

    ``limit_mib`` bounds what the avatars that no stream shows take in memory, as an estimate;
    ``longest_px`` the longest side of their pictures, those that are larger are made smaller.
    """

    def __init__(
        self,
        inference: Inference,
        source: Source,
        limit_mib: float,
        longest_px: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inference = inference
        self._source = source
        self._limit_bytes = limit_mib * 2**20
        self._longest_px = longest_px
        self._clock = clock
        self._catalogue: dict[str, str] = {}
        self._listed_at = float("-inf")
        self._listing: asyncio.Task[None] | None = None
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._turn = asyncio.Lock()

    def names(self) -> tuple[str, ...]:
        """The avatars this worker can show, as last listed; they are listed again now and then,
        beside whoever asks."""
        if self._clock() - self._listed_at > _FRESH_S and self._listing is None:
            self._listing = asyncio.create_task(self._list_again())
        return tuple(sorted(self._catalogue))[:_MOST_NAMES]

    def ready(self) -> tuple[str, ...]:
        """Those of them that the engine holds, in the version that is asked for now."""
        held = {
            name
            for (name, version), entry in self._entries.items()
            if _is_ready(entry) and self._catalogue.get(name) == version
        }
        return tuple(name for name in self.names() if name in held)

    async def refresh(self) -> None:
        """Lists them now. Raises AvatarError where there is none, or they cannot be listed."""
        listed = await asyncio.to_thread(self._source.catalogue)
        self._catalogue = {name: v for name, v in listed.items() if NAME.fullmatch(name)}
        self._listed_at = self._clock()
        if not self._catalogue:
            raise AvatarError(
                "this worker has no avatar; put one where RAPIDO_AVATARS points, or install one "
                "under gpu_node/avatars"
            )
        if len(self._catalogue) > _MOST_NAMES:
            _log.warning("there are more than %d avatars; the rest is not told", _MOST_NAMES)

    @asynccontextmanager
    async def lent(self, name: str) -> AsyncIterator[Loaded]:
        """The avatar, ready in the engine, and kept there meanwhile. Raises AvatarError."""
        entry = self._entry(name)
        entry.users += 1
        try:
            yield await asyncio.shield(entry.loading)
        finally:
            entry.users -= 1
            entry.used_at = self._clock()

    def _entry(self, name: str) -> _Entry:
        version = self._catalogue.get(name)
        if version is None:
            names = ", ".join(self.names()) or "none"
            raise AvatarError(f"avatar {name[:80]!r}: not here; available: {names}")
        entry = self._entries.get((name, version))
        if entry is None or (entry.loading.done() and entry.loading.exception() is not None):
            loading = asyncio.create_task(self._load(name, version))
            entry = self._entries[name, version] = _Entry(name, loading, used_at=self._clock())
        return entry

    async def _load(self, name: str, version: str) -> Loaded:
        async with self._turn:  # one at a time: they would only share the disk and the cores
            path = await asyncio.to_thread(self._source.get, name, version, self._in_use())
            self._entries[name, version].path = path
            avatar = await asyncio.to_thread(self._read, path)
            await self._make_room(memory_bytes(avatar))
            compositor = await asyncio.to_thread(Compositor, avatar)
            await self._inference.prepare(avatar, compositor)
            return avatar, compositor

    def _read(self, path: Path) -> Avatar:
        avatar = load_avatar(path)
        return avatar if self._longest_px is None else scaled(avatar, self._longest_px)

    def _in_use(self) -> frozenset[Path]:
        return frozenset(e.path for e in self._entries.values() if e.users and e.path is not None)

    async def _make_room(self, bytes_: int) -> None:
        """Lets go of what was longest unused, until so much more fits; never of what is shown."""
        ready = {key: e for key, e in self._entries.items() if _is_ready(e)}
        total = sum(memory_bytes(e.loading.result()[0]) for e in ready.values())
        for key, entry in sorted(ready.items(), key=lambda item: item[1].used_at):
            if total + bytes_ <= self._limit_bytes:
                return
            if entry.users:
                continue
            avatar, _ = entry.loading.result()
            del self._entries[key]
            await self._inference.forget(avatar)
            total -= memory_bytes(avatar)
            _log.info("avatar let go of", extra={"avatar": entry.name})

    async def _list_again(self) -> None:
        try:
            await self.refresh()
        except AvatarError as error:
            self._listed_at = self._clock()
            _log.warning("the avatars stay as last listed: %s", error)
        finally:
            self._listing = None


def _is_ready(entry: _Entry) -> bool:
    loading = entry.loading
    return loading.done() and not loading.cancelled() and loading.exception() is None


def memory_bytes(avatar: Avatar) -> int:
    """About what it takes: its frames twice (as they are and as I420), and what the engine keeps
    of each frame in half precision (1.5 values a pixel of the crop and channel)."""
    encoded = len(avatar.frames) * int(1.5 * avatar.width * avatar.crop**2) * 2
    seen = 0 if avatar.crops is None else avatar.crops.nbytes
    return avatar.frames.nbytes * 3 // 2 + seen + encoded
