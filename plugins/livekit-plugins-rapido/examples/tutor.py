"""A tutor with a face: ``python tutor.py dev``.

Needs LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET, RAPIDO_URL and RAPIDO_KEY. With LESSON_FILE
it reads a recorded lesson (wav, mp3, …) and needs no model; without, it talks, through the models
of LiveKit Inference.
"""

from __future__ import annotations

import logging
import os

from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    TurnHandlingOptions,
    cli,
    utils,
)
from livekit.plugins import rapido

RATE_HZ = 24_000
logger = logging.getLogger("tutor")
server = AgentServer(port=int(os.getenv("PORT", "0")))


def make_session(recorded: bool) -> AgentSession:
    """An avatar cannot pause, so that what sounded like an interruption is one."""
    turns = TurnHandlingOptions(interruption={"resume_false_interruption": False})
    if recorded:
        return AgentSession(turn_handling={**turns, "turn_detection": "manual"})
    return AgentSession(
        stt="deepgram/nova-3",
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
        turn_handling=turns,
    )


@server.rtc_session()
async def lesson(job: JobContext) -> None:
    """One lesson: the room is the learner's, and its name the lesson's."""
    recording = os.getenv("LESSON_FILE")
    session = make_session(recorded=recording is not None)
    avatar = rapido.AvatarSession()

    def on_lost(reason: str) -> None:
        logger.warning("going on without a face: %s", reason)
        if recording is None:
            session.generate_reply(
                instructions="Say in a few words that you go on without picture."
            )

    avatar.on("avatar_lost", on_lost)
    session.on("close", lambda _: job.shutdown("the lesson is over"))
    await job.connect()
    await job.wait_for_participant()
    try:
        await avatar.start(session, room=job.room)
    except rapido.RapidoError as error:
        logger.warning("no face for this lesson: %s", error)
    await session.start(Agent(instructions="You are a patient tutor."), room=job.room)
    if recording is not None:
        frames = utils.audio.audio_frames_from_file(recording, sample_rate=RATE_HZ)
        session.say("The recorded lesson.", audio=frames)
    else:
        session.generate_reply(instructions="Greet the learner and ask what to look at today.")


if __name__ == "__main__":
    cli.run_app(server)
