"""The baseline: livekit.rtc and nothing else. ``python -m ops.demo.bare`` reads lines

``ROOM URL TOKEN`` and for each connects and publishes 512² at 25 fps with silence, until a line
``ROOM`` alone. ``ROOM URL TOKEN relay``: instead of silence what a microphone there says, at once.
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
from livekit import rtc
from livekit.rtc import FrameMetadata, FrameMetadataFeature

SIZE, FRAME_S = 512, 0.04
RATE_HZ = 48_000
_LONGEST_S = 20.0


async def publish(url: str, token: str, over: asyncio.Event, *, relay: bool = False) -> None:
    """One room, from connecting to leaving."""
    room = rtc.Room()
    video, audio = rtc.VideoSource(SIZE, SIZE), rtc.AudioSource(RATE_HZ, 1, queue_size_ms=200)
    relays: set[asyncio.Task[None]] = set()
    if relay:
        room.on("track_subscribed", lambda track, *_: relays.add(_relayed(track, audio)))
    options = rtc.RoomOptions(auto_subscribe=relay, single_peer_connection=False)
    await room.connect(url, token, options)
    video_options = rtc.TrackPublishOptions(
        video_codec=rtc.VideoCodec.VP8,
        simulcast=False,
        source=rtc.TrackSource.SOURCE_CAMERA,
        frame_metadata_features=[
            FrameMetadataFeature.FMF_USER_TIMESTAMP,
            FrameMetadataFeature.FMF_FRAME_ID,
        ],
    )
    me = room.local_participant
    await asyncio.gather(
        me.publish_track(rtc.LocalVideoTrack.create_video_track("video", video), video_options),
        me.publish_track(rtc.LocalAudioTrack.create_audio_track("audio", audio)),
    )
    noise = np.random.default_rng(1).integers(60, 200, (SIZE * 3 // 2, SIZE), np.uint8)
    still = noise.copy()
    still[:] = 128
    still[200:240, 200:300] = noise[200:240, 200:300]
    silence = rtc.AudioFrame(bytes(RATE_HZ // 25 * 2), RATE_HZ, 1, RATE_HZ // 25)
    began = due = time.monotonic()
    number = 0
    while not over.is_set() and (relay or time.monotonic() - began < _LONGEST_S):
        still = np.roll(still, 2, axis=1)
        frame = rtc.VideoFrame(SIZE, SIZE, rtc.VideoBufferType.I420, memoryview(still.reshape(-1)))
        stamp = FrameMetadata(user_timestamp=time.time_ns() // 1000, frame_id=number)
        video.capture_frame(frame, metadata=stamp)
        if not relay:
            await audio.capture_frame(silence)
        number += 1
        due += FRAME_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    for task in relays:
        task.cancel()
    await room.disconnect()


def _relayed(track: rtc.Track, audio: rtc.AudioSource) -> asyncio.Task[None]:
    async def go_on() -> None:
        async for event in rtc.AudioStream(track, sample_rate=RATE_HZ, num_channels=1):
            await audio.capture_frame(event.frame)

    return asyncio.create_task(go_on())


async def main() -> None:
    """Serves until its input ends."""
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    running: set[asyncio.Task[None]] = set()
    rooms: dict[str, asyncio.Event] = {}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        room, *access = line.split()
        if not access:
            rooms[room].set()
            continue
        url, token, *relay = access
        rooms[room] = asyncio.Event()
        task = asyncio.create_task(publish(url, token, rooms[room], relay=bool(relay)))
        running.add(task)
        task.add_done_callback(running.discard)
    for over in rooms.values():
        over.set()
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main())
