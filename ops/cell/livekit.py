"""The cell's LiveKit server on loopback."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from ops.cell.files import plain_environment, write_private
from ops.cell.livekit_binary import livekit_server
from ops.cell.ports import free_ports
from ops.cell.supervisor import Supervisor


@dataclass(frozen=True)
class LiveKit:
    """Where the server is, and the pair that signs tokens for it and its webhooks."""

    url: str
    key: str
    secret: str


def start_livekit(
    supervisor: Supervisor,
    state_dir: Path,
    webhook_url: str,
    *,
    name: str = "livekit",
    report: Callable[[str], None] = print,
) -> LiveKit:
    """Starts a server whose webhooks go to ``webhook_url``, signed with its own key.

    Raises:
        PartError: no server can be had, or it does not answer; the message holds the remedy.
    """
    binary = livekit_server(report)
    signal_port, udp_port, tcp_port = free_ports(3)
    key = f"API{secrets.token_hex(6)}"
    secret = secrets.token_urlsafe(32)
    settings = {
        "port": signal_port,
        "bind_addresses": ["127.0.0.1"],
        "rtc": {
            "udp_port": udp_port,
            "tcp_port": tcp_port,
            "use_external_ip": False,
            "node_ip": "127.0.0.1",
            "enable_loopback_candidate": True,
            # who joins just after a key frame shall not wait a second for the next one
            "pli_throttle": dict.fromkeys(("low_quality", "mid_quality", "high_quality"), "200ms"),
        },
        "keys": {key: secret},
        "webhook": {
            "api_key": key,
            "urls": [webhook_url],
            # nothing else is listened to, and a lesson has twenty of them
            "filter_params": {"include_events": ["room_finished"]},
        },
        "logging": {"level": "info", "json": False},
    }
    config = state_dir / f"{name}.yaml"
    write_private(config, json.dumps(settings, indent=2))
    argv = [str(binary), "--config", str(config)]
    supervisor.start(name, argv, plain_environment(), _answers(signal_port))
    return LiveKit(f"ws://127.0.0.1:{signal_port}", key, secret)


def _answers(port: int) -> Callable[[], bool]:
    def probe() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/", timeout=1.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    return probe
