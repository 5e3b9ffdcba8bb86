"""How cells on this machine reach and recognise each other."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CellLink:
    """A cell's address for its peers, and the key pair it signs with."""

    cell: str
    region: str
    url: str
    access_key: str
    secret: str

    @staticmethod
    def make(cell: str, region: str, url: str) -> CellLink:
        """With a new key pair."""
        pair = f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20)
        return CellLink(cell, region, url, *pair)

    def signs_as(self) -> dict[str, str]:
        """The environment in which a cell's functions sign as this one; on AWS a role does it."""
        return {"RAPIDO_PEER_ACCESS_KEY": self.access_key, "RAPIDO_PEER_SECRET_KEY": self.secret}


@dataclass(frozen=True)
class Home:
    """The cell that keeps the records of all, as one of the others knows it."""

    cell: str
    region: str
    aws_url: str
    """Where its queue takes what is to be kept."""


def peer_credentials(peers: Iterable[CellLink]) -> dict[str, tuple[str, str]]:
    """For RAPIDO_LOCAL_CREDENTIALS: what a gateway knows its peers by."""
    return {peer.access_key: (peer.secret, f"cell-{peer.cell}") for peer in peers}
