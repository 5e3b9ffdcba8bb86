"""The worker's shelf: each avatar loaded once, streams undisturbed, nothing shown let go of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest

from gpu_node.avatars import Avatar, AvatarError
from gpu_node.avatars.source import FolderSource
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.inference import Inference, Work
from gpu_node.metrics import Metrics
from gpu_node.pcm import PcmFormat
from gpu_node.segment import Segment
from gpu_node.shelf import Shelf, memory_bytes
from tests.unit.small_avatar import write_package


class SlowEngine:
    """Loads an avatar named in ``held`` only when it is let; paints grey."""

    name = "slow"
    callers = 1

    def __init__(self) -> None:
        self.held: dict[str, threading.Event] = {}
        self.begun = threading.Event()
        self.prepared: list[str] = []
        self.forgotten: list[str] = []

    def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        if avatar.name in self.held:
            self.begun.set()
            assert self.held[avatar.name].wait(30)
        self.prepared.append(avatar.name)

    def encode(self, avatar: Avatar, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros(512, np.float32) for _ in windows]

    def render(self, jobs: Sequence[FrameJob]) -> list[np.ndarray]:
        return [np.full((192, 128), 128, np.uint8) for _ in jobs]

    def forget(self, avatar: Avatar) -> None:
        self.forgotten.append(avatar.name)

    def close(self) -> None:
        pass


class CountingSource(FolderSource):
    """A folder that counts what is asked of it, and fails when told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.got: list[str] = []
        self.listed = 0
        self.fault: AvatarError | None = None

    def catalogue(self) -> dict[str, str]:
        self.listed += 1
        if self.fault is not None:
            raise self.fault
        return super().catalogue()

    def get(self, name: str, version: str, in_use: Collection[Path]) -> Path:
        self.got.append(name)
        if self.fault is not None:
            raise self.fault
        return super().get(name, version, in_use)


class Stage:
    """A shelf over a folder, with all that a test looks at."""

    def __init__(self, root: Path, limit_mib: float = 1000.0) -> None:
        self.root = root
        self.engine = SlowEngine()
        self.source = CountingSource(root)
        self.inference = Inference(self.engine, Metrics())
        self.now = 1000.0
        self.shelf = Shelf(self.inference, self.source, limit_mib, clock=lambda: self.now)

    async def load(self, name: str) -> tuple[Avatar, Compositor]:
        async with self.shelf.lent(name) as loaded:
            return loaded

    def close(self) -> None:
        self.inference.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(("anna", "ben", "cleo"), 1):
        write_package(tmp_path / name, seed=seed)
    return tmp_path


def test_two_streams_of_one_avatar_load_it_once(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()

        (first, _), (second, _) = await asyncio.gather(stage.load("anna"), stage.load("anna"))

        assert first is second
        assert stage.source.got == ["anna"]
        assert stage.engine.prepared == ["anna"]
        stage.close()

    asyncio.run(play())


def test_loading_an_avatar_does_not_make_another_ones_stream_wait(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()
        stage.engine.held["ben"] = threading.Event()
        async with stage.shelf.lent("anna") as (anna, _):
            loading = asyncio.create_task(stage.load("ben"))
            await asyncio.to_thread(stage.engine.begun.wait, 30)
            segment = Segment("me", PcmFormat(16_000, 1), reported=False)

            pictures = [
                await asyncio.wait_for(
                    stage.inference.picture(Work(anna, 0, segment, frame, [])), 30
                )
                for frame in range(3)
            ]

            assert [picture.shape for picture in pictures] == [(192, 128)] * 3
            assert not loading.done()
            stage.engine.held["ben"].set()
            await loading
        assert stage.engine.prepared == ["anna", "ben"]
        stage.close()

    asyncio.run(play())


def test_the_longest_unused_avatar_is_let_go_of_and_none_that_is_shown(root: Path) -> None:
    async def play() -> None:
        probe = Stage(root)
        await probe.shelf.refresh()
        each = memory_bytes((await probe.load("anna"))[0])
        probe.close()
        stage = Stage(root, limit_mib=2.5 * each / 2**20)
        await stage.shelf.refresh()

        async with stage.shelf.lent("anna"):
            stage.now += 1
            await stage.load("ben")
            stage.now += 1
            await stage.load("cleo")

            assert stage.engine.forgotten == ["ben"]
            await stage.load("anna")
            assert stage.engine.prepared == ["anna", "ben", "cleo"]
        await stage.load("ben")

        assert stage.engine.prepared == ["anna", "ben", "cleo", "ben"]
        stage.close()

    asyncio.run(play())


def test_streams_that_need_more_than_the_limit_are_served_all_the_same(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root, limit_mib=0.0)
        await stage.shelf.refresh()

        async with stage.shelf.lent("anna"), stage.shelf.lent("ben"):
            assert stage.engine.forgotten == []
        stage.close()

    asyncio.run(play())


def test_a_load_that_failed_is_tried_again_at_the_next_request(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()
        stage.source.fault = AvatarError("the bucket does not answer")
        with pytest.raises(AvatarError, match="does not answer"):
            await stage.load("anna")
        stage.source.fault = None

        avatar, _ = await stage.load("anna")

        assert avatar.name == "anna"
        stage.close()

    asyncio.run(play())


def test_ready_is_what_was_loaded_and_neither_let_go_of_nor_replaced(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root, limit_mib=0.0)
        await stage.shelf.refresh()
        assert stage.shelf.ready() == ()
        async with stage.shelf.lent("anna"):
            await stage.load("ben")
            assert stage.shelf.ready() == ("anna", "ben")
            await stage.load("cleo")
            assert stage.shelf.ready() == ("anna", "cleo")
            manifest = root / "anna" / "manifest.json"
            manifest.write_text(manifest.read_text() + "\n")
            await stage.shelf.refresh()
            assert stage.shelf.ready() == ("cleo",)
        stage.close()

    asyncio.run(play())


def test_an_avatar_that_is_not_listed_tells_which_are(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()
        with pytest.raises(AvatarError, match="'zoe': not here; available: anna, ben, cleo"):
            await stage.load("zoe")
        stage.close()

    asyncio.run(play())


def test_a_worker_without_avatars_says_where_to_put_one(tmp_path: Path) -> None:
    async def play() -> None:
        stage = Stage(tmp_path)
        with pytest.raises(AvatarError, match="RAPIDO_AVATARS"):
            await stage.shelf.refresh()
        stage.close()

    asyncio.run(play())


def test_the_names_are_listed_again_beside_whoever_asks(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()
        write_package(root / "dora", seed=4)
        (root / "Not A Name").mkdir()
        (root / "Not A Name" / "manifest.json").write_text("{}")
        stage.now += 61

        assert stage.shelf.names() == ("anna", "ben", "cleo")
        while stage.shelf._listing is not None:
            await asyncio.wait_for(asyncio.shield(stage.shelf._listing), 30)

        assert stage.shelf.names() == ("anna", "ben", "cleo", "dora")
        assert stage.source.listed == 2
        stage.close()

    asyncio.run(play())


def test_a_listing_that_fails_keeps_the_names_there_were(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()
        stage.source.fault = AvatarError("the bucket does not answer")
        stage.now += 61
        stage.shelf.names()
        while stage.shelf._listing is not None:
            await asyncio.wait_for(asyncio.shield(stage.shelf._listing), 30)

        assert stage.shelf.names() == ("anna", "ben", "cleo")
        stage.close()

    asyncio.run(play())


def test_a_shelf_of_smaller_pictures_makes_what_it_loads_smaller(tmp_path: Path) -> None:
    write_package(tmp_path / "anna")

    async def play() -> None:
        stage = Stage(tmp_path)
        shelf = Shelf(stage.inference, stage.source, 1000.0, 96)
        await shelf.refresh()

        async with shelf.lent("anna") as (avatar, compositor):
            assert avatar.size == (96, 96)
            assert compositor.compose(0, None).shape == (144, 96)
            assert avatar.cut(0).shape == (96, 96, 3)
        stage.close()

    asyncio.run(play())


def test_an_avatar_that_was_replaced_is_loaded_anew_while_the_old_one_is_shown(root: Path) -> None:
    async def play() -> None:
        stage = Stage(root)
        await stage.shelf.refresh()
        async with stage.shelf.lent("anna") as (old, _):
            manifest = root / "anna" / "manifest.json"
            manifest.write_text(manifest.read_text() + "\n")
            await stage.shelf.refresh()

            new, _ = await stage.load("anna")

            assert new is not old
            assert stage.engine.forgotten == []
        stage.close()

    asyncio.run(play())
