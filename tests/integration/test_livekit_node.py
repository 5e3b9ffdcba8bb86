"""The configuration that a self-hosted LiveKit node writes, given to the real server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from livekit import api, rtc

from ops.cell.livekit_binary import livekit_server
from ops.cell.ports import free_ports
from tests.integration.worker_room import until_it_answers
from tests.livekit_node import PAIR, written_config


@dataclass(frozen=True)
class Node:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait_until_it_says(self, words: str) -> None:
        """In its log."""
        deadline = time.monotonic() + 20
        while words not in self.log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline, f"it does not say: {words}"
            time.sleep(0.05)


def test_the_server_takes_the_configuration_as_it_is(tmp_path: Path) -> None:
    config = written_config(tmp_path)

    told = subprocess.run(
        [livekit_server(), "--config", config, "ports"], capture_output=True, text=True, check=True
    )

    for port in ("7880", "7881", "7882", "7889", "5349", "443"):
        assert port in told.stdout


def test_a_node_that_is_told_to_stop_waits_for_its_rooms(tmp_path: Path, valkey_url: str) -> None:
    async def scenario(node: Node) -> None:
        room = rtc.Room()
        await room.connect(node.url, learner_token())
        try:
            node.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(node.wait_until_it_says, "waiting for participants to exit")
            assert node.process.poll() is None
        finally:
            await room.disconnect()
        assert await asyncio.to_thread(node.process.wait, 30) == 0

    with running(tmp_path, valkey_url) as node:
        asyncio.run(scenario(node))


@contextmanager
def running(folder: Path, valkey_url: str) -> Iterator[Node]:
    """The server with that configuration, but for addresses of this machine."""
    config = yaml.safe_load(written_config(folder).read_text(encoding="utf-8"))
    store = urlsplit(valkey_url)
    config["port"], udp, config["rtc"]["tcp_port"], tls, turn = free_ports(5)
    config["rtc"] |= {"udp_port": udp, "node_ip": "127.0.0.1", "enable_loopback_candidate": True}
    config["turn"] |= {"tls_port": tls, "udp_port": turn}
    config["redis"] = {"address": f"{store.hostname}:{store.port}", "password": store.password}
    path, log = folder / "here.yaml", folder / "server.log"
    path.write_text(json.dumps(config), encoding="utf-8")
    with log.open("wb") as out:
        server = subprocess.Popen([livekit_server(), "--config", path], stdout=out, stderr=out)
    try:
        until_it_answers(f"http://127.0.0.1:{config['port']}", server, log)
        yield Node(server, f"ws://127.0.0.1:{config['port']}", log)
    finally:
        server.kill()
        server.wait(10)


def learner_token() -> str:
    made = api.AccessToken(PAIR["livekit_api_key"], PAIR["livekit_api_secret"])
    grants = api.VideoGrants(room_join=True, room="lesson")
    return made.with_identity("learner").with_grants(grants).to_jwt()
