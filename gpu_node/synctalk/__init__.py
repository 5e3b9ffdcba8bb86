"""The SyncTalk 2D networks in torch, and their published weights."""

from gpu_node.synctalk.model import AudioEncoder, Generator
from gpu_node.synctalk.weights import WeightsError, load_audio_encoder, load_generator

__all__ = ["AudioEncoder", "Generator", "WeightsError", "load_audio_encoder", "load_generator"]
