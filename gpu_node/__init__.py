"""The worker: renders lip-synced avatars and streams them into LiveKit rooms."""
