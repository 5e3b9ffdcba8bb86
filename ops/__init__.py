"""The `rapido` command and what it needs: the local cell, benches, avatars, deployment."""
