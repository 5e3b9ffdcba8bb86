"""One LiveKit room as an avatar sees it: its two tracks, its learners, its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc

from control.contracts.worker import RoomAccess
from gpu_node.features import FPS
from gpu_node.pacing import QUEUE_S
from gpu_node.pcm import PLAYOUT_RATE_HZ
from gpu_node.segment import FRAME_SAMPLES
from gpu_node.speech import AUDIO_STREAM, CLEAR_BUFFER, Speech
from gpu_node.video import Video

_CODECS = {
    "vp8": rtc.VideoCodec.VP8,
    "h264": rtc.VideoCodec.H264,
    "vp9": rtc.VideoCodec.VP9,
    "av1": rtc.VideoCodec.AV1,
}
_ENCODERS = {
    "software": rtc.VideoEncoderBackend.ENCODER_BACKEND_SOFTWARE,
    "nvenc": rtc.VideoEncoderBackend.ENCODER_BACKEND_NVENC,
}
_STATS_S = 1.0
_NO_LEARNERS = (
    rtc.ParticipantKind.PARTICIPANT_KIND_AGENT,
    rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS,
    rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS,
)
_log = logging.getLogger(__name__)


class _Sound:
    def __init__(self) -> None:
        self.source = rtc.AudioSource(PLAYOUT_RATE_HZ, 1, queue_size_ms=int(QUEUE_S * 1000))

    async def push(self, pcm: npt.NDArray[np.int16]) -> None:
        frame = rtc.AudioFrame(pcm.tobytes(), PLAYOUT_RATE_HZ, 1, FRAME_SAMPLES)
        await self.source.capture_frame(frame)

    def clear(self) -> None:
        self.source.clear_queue()


class _Pictures:
    def __init__(self, width: int, height: int) -> None:
        self.source = rtc.VideoSource(width, height)
        self._size = (width, height)

    def show(self, picture: npt.NDArray[np.uint8], number: int) -> None:
        data = np.ascontiguousarray(picture).reshape(-1).data
        kind = rtc.VideoBufferType.I420
        # receivers measure latency and lip sync by it, wherever the frame went
        stamp = rtc.FrameMetadata(user_timestamp=time.time_ns() // 1000, frame_id=number + 1)
        self.source.capture_frame(rtc.VideoFrame(*self._size, kind, data), metadata=stamp)


async def connect(room: rtc.Room, url: str, token: str, options: rtc.RoomOptions) -> None:
    """Connects. Raises rtc.ConnectError.

    Who gives up waiting leaves it connecting in the background, to be left again: the library ends
    its whole process some seconds after a connect that was cancelled half way.
    """
    connecting = asyncio.ensure_future(room.connect(url, token, options))
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        task = asyncio.ensure_future(_abandon(room, connecting))
        _abandoned.add(task)
        task.add_done_callback(_abandoned.discard)
        raise


_abandoned: set[asyncio.Future[None]] = set()


async def _abandon(room: rtc.Room, connecting: asyncio.Future[None]) -> None:
    await asyncio.wait({connecting})
    if not connecting.cancelled() and connecting.exception() is None:
        await room.disconnect()


@dataclass(frozen=True)
class Encoded:
    """Frames that the encoder named ``by`` made, and the seconds that took on the clock."""

    by: str
    frames: int
    took_s: float


class Tracks:
    """A picture and a voice, with the sources that feed them."""

    def __init__(self, width: int, height: int, video: Video) -> None:
        self._video = video
        self.sound = _Sound()
        self.pictures = _Pictures(width, height)
        self._published: list[rtc.LocalTrackPublication] = []

    async def publish(self, room: rtc.Room) -> None:
        """Both at once."""
        video = rtc.LocalVideoTrack.create_video_track("avatar", self.pictures.source)
        audio = rtc.LocalAudioTrack.create_audio_track("avatar-voice", self.sound.source)
        encoding = rtc.VideoEncoding(max_framerate=FPS, max_bitrate=self._video.bitrate_bps)
        video_options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=_CODECS[self._video.codec],
            video_encoder=_ENCODERS[self._video.encoder],
            simulcast=False,
            frame_metadata_features=[
                rtc.FrameMetadataFeature.FMF_USER_TIMESTAMP,
                rtc.FrameMetadataFeature.FMF_FRAME_ID,
            ],
            video_encoding=encoding,
        )
        audio_options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        publish = room.local_participant.publish_track
        self._published = list(
            await asyncio.gather(publish(video, video_options), publish(audio, audio_options))
        )

    async def unpublish(self, room: rtc.Room) -> None:
        """Takes both away."""
        for publication in self._published:
            await room.local_participant.unpublish_track(publication.sid)

    async def encoded(self) -> Encoded | None:
        """What the picture's encoder did so far; None where the library does not tell."""
        for publication in self._published:
            if publication.kind != rtc.TrackKind.KIND_VIDEO or publication.track is None:
                continue
            try:
                told = await asyncio.wait_for(publication.track.get_stats(), _STATS_S)
            except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
                _log.warning("the encoder's figures are not known: %s", error)
                continue
            for one in told:
                if one.HasField("outbound_rtp"):
                    sent = one.outbound_rtp.outbound
                    name = sent.encoder_implementation
                    return Encoded(name, sent.frames_encoded, sent.total_encode_time)
        return None

    async def close(self) -> None:
        """Closes the sources."""
        await self.sound.source.aclose()
        await self.pictures.source.aclose()


class AvatarRoom:
    """``changed`` is set when a learner came or went, ``closed`` when the room let go of us."""

    def __init__(self, width: int, height: int, video: Video) -> None:
        self.size = (width, height)
        self.rtc = rtc.Room()
        self.tracks = Tracks(width, height, video)
        self.changed = asyncio.Event()
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._speech: Speech | None = None
        self._early: list[tuple[rtc.ByteStreamReader, str]] = []
        self._handlers: dict[Any, Callable[..., None]] = {
            "participant_connected": self._on_presence,
            "participant_disconnected": self._on_presence,
            "participant_attributes_changed": self._on_attributes,
            "track_published": self._on_published,
            "track_subscribed": self._on_subscribed,
            "disconnected": self._on_disconnected,
        }

    @property
    def learners(self) -> int:
        """Participants who watch: neither programs nor those who speak through the avatar."""
        return sum(
            1
            for one in self.rtc.remote_participants.values()
            if one.kind not in _NO_LEARNERS and not self._may_speak(one)
        )

    async def join(self, access: RoomAccess) -> None:
        """Connects and publishes both tracks. Raises rtc.ConnectError."""
        room = self.rtc
        for event, handler in self._handlers.items():
            room.on(event, handler)
        # a stream may arrive as soon as we are in, so its handler is there before
        room.register_byte_stream_handler(AUDIO_STREAM, self._on_stream)
        # measured: two peer connections bring the first frame a third sooner
        options = rtc.RoomOptions(auto_subscribe=False, single_peer_connection=False)
        await connect(room, access.url, access.token, options)
        room.local_participant.register_rpc_method(CLEAR_BUFFER, self._on_clear)
        await self.tracks.publish(room)

    def begin(self, speech: Speech) -> None:
        """The session begins: who is here, and what was said by now, is heard."""
        self._speech = speech
        for participant in self.rtc.remote_participants.values():
            for publication in participant.track_publications.values():
                self._on_published(publication, participant)
        early, self._early = self._early, []
        for reader, sender in early:
            speech.on_stream(reader, sender)

    async def leave(self) -> None:
        """Closes what was opened and disconnects; harmless when repeated."""
        room = self.rtc
        room.unregister_byte_stream_handler(AUDIO_STREAM)
        if self._speech is not None:
            await self._speech.close()
        for reader, _ in self._early:
            reader.close()
        if room.isconnected():
            room.local_participant.unregister_rpc_method(CLEAR_BUFFER)
        for event, handler in self._handlers.items():
            room.off(event, handler)
        await room.disconnect()
        await self.tracks.close()

    def _on_stream(self, reader: rtc.ByteStreamReader, sender: str) -> None:
        if self._speech is None:
            self._early.append((reader, sender))
        else:
            self._speech.on_stream(reader, sender)

    async def _on_clear(self, call: rtc.RpcInvocationData) -> str:
        if self._speech is None:
            self._early.clear()
            return "ok"
        return await self._speech.on_clear(call)

    def _on_presence(self, _: rtc.RemoteParticipant) -> None:
        self.changed.set()
        if self._speech is not None:
            self._speech.on_presence()

    def _on_attributes(self, _: dict[str, str], participant: rtc.Participant) -> None:
        self.changed.set()
        if isinstance(participant, rtc.RemoteParticipant):
            for publication in participant.track_publications.values():
                self._on_published(publication, participant)

    def _may_speak(self, participant: rtc.RemoteParticipant) -> bool:
        speech = self._speech
        return speech is not None and speech.voices.has(
            participant.identity, participant.attributes
        )

    def _on_published(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        speech = self._speech
        voice = speech is not None and speech.voices.signed(participant.attributes)
        if voice and publication.kind == rtc.TrackKind.KIND_AUDIO and not publication.subscribed:
            publication.set_subscribed(True)

    def _on_subscribed(
        self,
        track: rtc.Track,
        _: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        if self._speech is not None and track.kind == rtc.TrackKind.KIND_AUDIO:
            self._speech.on_track(track, participant.identity)

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self.closed.done():
            self.closed.set_result(rtc.DisconnectReason.Name(reason))
