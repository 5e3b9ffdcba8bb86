"""A Rapido avatar speaks for a LiveKit agent.

``rapido.AvatarSession`` asks a Rapido cell for an avatar in the agent's own room and gives it the
agent's voice; the agent gets its voice back whenever the avatar is away.
"""

from livekit.agents import Plugin

from .avatar import AvatarSession
from .errors import RapidoError
from .log import logger
from .version import __version__

__all__ = ["AvatarSession", "RapidoError", "__version__"]


class RapidoPlugin(Plugin):
    """Tells LiveKit Agents that the plugin is there."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)


Plugin.register_plugin(RapidoPlugin())
