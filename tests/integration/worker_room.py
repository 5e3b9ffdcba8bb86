"""A real LiveKit server, an avatar whose mouth shows how loud it is, and guests who watch it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from livekit import api, rtc

from control.contracts.worker import RoomAccess, StartStream
from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import FrameJob
from gpu_node.inference import Inference
from gpu_node.metrics import Metrics
from gpu_node.session import Limits, Studio
from gpu_node.video import Video
from gpu_node.warm import WarmRooms
from ops.cell.livekit_binary import livekit_server
from ops.cell.ports import free_ports

KEY, SECRET = "APItestkey", "a-secret-of-thirty-two-characters-or-more"
VIDEO = Video("vp8", "software", 1_200_000)
SIZE, BOX = 256, (64, 96, 128, 128)
AVATAR_IDENTITY = "avatar"
RATE_HZ = 24_000
LOUD = 0.1


@contextmanager
def running_livekit(log: Path, ports: Sequence[int] = ()) -> Iterator[str]:
    """The server's address, once it answers."""
    port, udp_port, tcp_port = ports or free_ports(3)
    config = {
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "keys": {KEY: SECRET},
        "rtc": {
            "use_external_ip": False,
            "node_ip": "127.0.0.1",
            "enable_loopback_candidate": True,
            "udp_port": udp_port,
            "tcp_port": tcp_port,
        },
    }
    with log.open("wb") as out:
        server = subprocess.Popen(
            [str(livekit_server()), "--config-body", json.dumps(config)], stdout=out, stderr=out
        )
    try:
        until_it_answers(f"http://127.0.0.1:{port}", server, log)
        yield f"ws://127.0.0.1:{port}"
    finally:
        server.kill() if ports else server.terminate()
        server.wait(10)


def until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Fails the test with the end of its log where it does not."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"the LiveKit server does not answer: {log.read_text()[-2000:]}")


def token(identity: str, room: str, *, voice: bool = False, kind: str = "standard") -> str:
    """A room token as the cell makes them."""
    made = api.AccessToken(KEY, SECRET).with_identity(identity).with_kind(kind)
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=False)
    if voice:
        made = made.with_attributes({"rapido.voice": "true"})
    return made.with_grants(grants).to_jwt()


class LoudnessEngine:
    """The mouth is white while the sound of its frame is loud, else black."""

    name = "loudness"
    callers = 1

    def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """Nothing to load."""
        self._compositor = compositor

    def encode(self, avatar: Avatar, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Feature i is window i - 1: the frame's own columns are its fourth to sixth."""
        loud = [float(window[:, 3:6].max(axis=0).mean()) for window in windows]
        return [np.full(512, one, np.float32) for one in loud]

    def render(self, jobs: Sequence[FrameJob]) -> list[np.ndarray]:
        """One picture a job."""
        level = [255 if job.audio[8, 0] > 0.0 else 0 for job in jobs]
        mouths = [np.full((BOX[3], BOX[2], 3), one, np.uint8) for one in level]
        return [self._compositor.compose(j.frame, m) for j, m in zip(jobs, mouths, strict=True)]

    def forget(self, avatar: Avatar) -> None:
        """Nothing was loaded."""

    def close(self) -> None:
        """Nothing was loaded."""


def grey_avatar() -> Avatar:
    """Grey all over, so that no mouth is neither black nor white."""
    frames = np.full((4, SIZE, SIZE, 3), 128, np.uint8)
    boxes = np.array([BOX] * 4, np.int32)
    return Avatar("grey", Path(), 25, (SIZE, SIZE), 128, 16, {}, frames, boxes)


class OneAvatarShelf:
    """Holds the grey avatar only."""

    def __init__(self, inference: Inference) -> None:
        self._avatar = grey_avatar()
        self._compositor = Compositor(self._avatar)
        inference.engine.prepare(self._avatar, self._compositor)

    def names(self) -> tuple[str, ...]:
        """Its name."""
        return ("grey",)

    @asynccontextmanager
    async def lent(self, name: str) -> AsyncIterator[tuple[Avatar, Compositor]]:
        """Ready at once."""
        yield self._avatar, self._compositor


def make_studio(limits: Limits, on_warm: Callable[[], None] = lambda: None) -> Studio:
    """What a worker's sessions share."""
    metrics = Metrics()
    inference = Inference(LoudnessEngine(), metrics)
    shelf = OneAvatarShelf(inference)
    return Studio(inference, shelf, metrics, WarmRooms(shelf, VIDEO, on_warm), VIDEO, limits)


def start_stream(
    url: str, room: str, *, ttl_s: float = 600, agent: str | None = None
) -> StartStream:
    """The cell's order."""
    avatar_token = token(AVATAR_IDENTITY, room, kind="agent")
    return StartStream(
        session_id=f"s-test-{room.replace('-', '_'):_<8}",
        generation=1,
        avatar="grey",
        room=RoomAccess(url=url, room=room, token=avatar_token),
        expires_at=datetime.now(UTC) + timedelta(seconds=ttl_s),
        agent_identity=agent,
    )


def tone(seconds: float, rate_hz: int = RATE_HZ, hz: float = 440.0) -> bytes:
    """s16 mono at half of full scale."""
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * hz * at) * 16_000).astype(np.int16).tobytes()


@dataclass
class Seen:
    """One picture: when it was decoded, which 40 ms of speech it says it shows (-1: none), and how
    bright the mouth is."""

    at: float
    number: int
    mouth: float


@dataclass
class Heard:
    """10 ms of sound: when it was decoded, and its level, 0..1."""

    at: float
    level: float


@dataclass
class Guest:
    """A participant who watches, listens, and may try to speak."""

    room: rtc.Room
    pictures: list[Seen] = field(default_factory=list)
    sounds: list[Heard] = field(default_factory=list)
    reports: list[tuple[str, str]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _streams: list[rtc.VideoStream | rtc.AudioStream] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def join(
        cls, url: str, room: str, identity: str, *, voice: bool = False, watch: bool = True
    ) -> Guest:
        """Joins, and watches the avatar's tracks as they come."""
        guest = cls(rtc.Room())
        if watch:
            guest.room.on("track_subscribed", guest._on_track)
        options = rtc.RoomOptions(auto_subscribe=watch)
        await guest.room.connect(url, token(identity, room, voice=voice), options)
        for method in ("lk.playback_started", "lk.playback_finished"):
            guest.room.local_participant.register_rpc_method(method, guest._on_report)
        return guest

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        watch = self._watch if track.kind == rtc.TrackKind.KIND_VIDEO else self._listen
        self._tasks.append(asyncio.create_task(watch(track)))

    async def _on_report(self, call: rtc.RpcInvocationData) -> str:
        self.reports.append((call.method, call.payload))
        await self._tell()
        return ""

    async def _watch(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.I420)
        self._streams.append(stream)
        x, y, w, h = BOX
        async for event in stream:
            luma = np.frombuffer(event.frame.data, np.uint8)[: SIZE * SIZE].reshape(SIZE, SIZE)
            middle = luma[y + h // 2 : y + h // 2 + 16, x + w // 2 : x + w // 2 + 16]
            number = int(event.metadata.frame_id) - 1 if event.metadata is not None else -1
            self.pictures.append(Seen(time.monotonic(), number, float(middle.mean())))
            await self._tell()

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=48_000, num_channels=1)
        self._streams.append(stream)
        async for event in stream:
            samples = np.frombuffer(event.frame.data, np.int16)
            level = float(np.abs(samples.astype(np.int32)).max()) / 32768
            self.sounds.append(Heard(time.monotonic(), level))
            await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], limit_s: float = 15.0) -> None:
        """Waits for what is seen, heard or reported."""
        async with self.changed, asyncio.timeout(limit_s):
            await self.changed.wait_for(condition)

    def heard_since(self, at: float) -> bool:
        """Any sound after that moment?"""
        return any(one.level > LOUD for one in self.sounds if one.at > at)

    def silent_for(self, pieces: int) -> bool:
        """Is what was heard last silence, for so many pieces of 10 ms?"""
        return len(self.sounds) > pieces and all(one.level <= LOUD for one in self.sounds[-pieces:])

    async def begin_to_speak(self, rate_hz: int = RATE_HZ) -> rtc.ByteStreamWriter:
        """One segment to the avatar, s16 mono, open until it is closed."""
        return await self.room.local_participant.stream_bytes(
            "speech",
            topic="lk.audio_stream",
            attributes={"sample_rate": str(rate_hz), "num_channels": "1"},
            destination_identities=[AVATAR_IDENTITY],
        )

    async def speak(
        self, pcm: bytes, rate_hz: int = RATE_HZ, piece: int = 9_601, faster: float = 4.0
    ) -> None:
        """One segment to the avatar, in pieces that cut samples in half, ``faster`` than life."""
        writer = await self.begin_to_speak(rate_hz)
        for at in range(0, len(pcm), piece):
            await writer.write(pcm[at : at + piece])
            await asyncio.sleep(piece / 2 / rate_hz / faster)
        await writer.aclose()

    async def talk(self, pcm: bytes) -> None:
        """Speaks 48 kHz into a microphone, as a person does: in real time, then silence."""
        source = rtc.AudioSource(48_000, 1, queue_size_ms=200)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(track, options)
        for data in (bytes(48_000), pcm, bytes(192_000)):
            for at in range(0, len(data), 1_920):
                await source.capture_frame(rtc.AudioFrame(data[at : at + 1_920], 48_000, 1, 960))
        await source.wait_for_playout()

    async def clear(self) -> str:
        """Interrupts."""
        return await self.room.local_participant.perform_rpc(
            destination_identity=AVATAR_IDENTITY, method="lk.clear_buffer", payload=""
        )

    async def leave(self) -> None:
        """Closes its streams and disconnects; harmless when repeated."""
        for stream in self._streams:
            await stream.aclose()
        self._streams.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()
