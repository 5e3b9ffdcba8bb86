"""Avatars as packages on disk: a manifest, weights as safetensors, an idle loop of frames."""

from gpu_node.avatars.package import Avatar, AvatarError, available, load_avatar

__all__ = ["Avatar", "AvatarError", "available", "load_avatar"]
