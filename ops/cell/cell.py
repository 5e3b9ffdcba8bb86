"""One cell on this machine: every part started in order, probed, watched and stopped."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import httpx

from ops.cell.at_desk import AtDesk
from ops.cell.autoscale import Autoscale
from ops.cell.aws import aws_environment, start_aws
from ops.cell.deploy import LocalAws, queue_urls, warm_up
from ops.cell.files import ROOT, own_environment, write_private
from ops.cell.functions import FunctionsPlan
from ops.cell.links import CellLink, Home, peer_credentials
from ops.cell.livekit import start_livekit
from ops.cell.livekit_binary import livekit_server
from ops.cell.nodes import WorkerMachines
from ops.cell.pools import make_pools
from ops.cell.ports import free_port
from ops.cell.postgres import remove_outside_data, start_postgres
from ops.cell.prepare import Keys, prepare
from ops.cell.provisioner import Provisioner
from ops.cell.supervisor import Death, PartError, Supervisor
from ops.cell.template import Template
from ops.cell.valkey import start_valkey
from ops.cell.workers import (
    LIGHT,
    MAX_WORKERS,
    WorkerIdentity,
    announced_slots,
    credentials_json,
    make_identities,
    start_worker,
)


@dataclass
class Cell:
    """A context manager; its addresses and keys are there once it is entered.

    ``workers`` share the processor evenly; ``port`` 0 takes a free one.
    ``on_event`` gets a line for every step, and for every part that dies.

    Raises on entering:
        PartError: a part did not start; nothing runs then, and the message says why.
        TemplateError: the template cannot be run here.
    """

    name: str = "desk"
    workers: int = 2
    region: str = "us-east-1"
    state_dir: Path | None = None
    port: int = 0
    template: Path = ROOT / "template.yaml"
    worker_module: str = "gpu_node"
    worker_env: Mapping[str, str] = field(default_factory=dict)
    functions_env: Mapping[str, str] = field(default_factory=dict)
    """More for the functions, as where another server plays a part of AWS."""
    on_event: Callable[[str], None] = print
    ready_timeout_s: float = 60.0
    link: CellLink | None = None
    """As whom it calls its peers; None: it has none."""
    peers: tuple[CellLink, ...] = ()
    keys: Keys | None = None
    """Client keys that other cells have too; None makes new ones."""
    home: Home | None = None
    """Who keeps its records and knows its ``keys``; None: itself, in a PostgreSQL of its own."""
    aws_port: int = 0
    """Of its AWS, where others must know it before; 0 takes a free one."""
    cells_here: int = 1
    """Cells that share this machine's processor, this one among them."""
    worker_turn: AbstractContextManager[Any] = field(default_factory=nullcontext)
    """Held while its workers start: a worker that measures beside another finds half its slots."""
    autoscale: Autoscale | None = None
    """Its workers are then the nodes of Auto Scaling groups, and ``workers`` does not count."""

    url: str = field(init=False, default="")
    aws_url: str = field(init=False, default="")
    store_url: str = field(init=False, default="")
    database_url: str = field(init=False, default="")
    client_key: str = field(init=False, default="")
    operator_key: str = field(init=False, default="")
    livekit_url: str = field(init=False, default="")
    livekit_key: str = field(init=False, default="")
    livekit_secret: str = field(init=False, default="")
    deaths: list[Death] = field(init=False, default_factory=list)
    broken: threading.Event = field(init=False, default_factory=threading.Event)
    """Set when a part died that nobody stopped; ``deaths`` says which."""

    def __enter__(self) -> Cell:
        self._began = time.monotonic()
        # May take minutes, once, and what it lacks is told before anything is started.
        livekit_server(self._tell)
        self._worker_ids: list[str] = []
        self._provisioner: Provisioner | None = None
        self.directory = (self.state_dir or Path(".rapido") / self.name).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        self._supervisor = Supervisor(self.directory / "logs", self._died)
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def worker_pids(self) -> dict[str, int]:
        """Process ids of the workers that run, by worker id."""
        running = self._supervisor.names()
        names = [*self._worker_ids, *(self._provisioner.nodes if self._provisioner else ())]
        return {name: self._supervisor[name].pid for name in names if name in running}

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that run: valkey, postgres, livekit, aws, functions, worker ids."""
        return self._supervisor.names()

    def groups(self) -> list[dict[str, Any]]:
        """Its pools, as DescribeAutoScalingGroups has them; none where it does not scale."""
        return [] if self.autoscale is None else self._aws.groups(self.name)

    def kill(self, part: str) -> None:
        """Kills a part with SIGKILL, as a crash would."""
        self._supervisor.kill(part)

    def give_up(self) -> None:
        """What is being started is not waited for: entering raises."""
        if hasattr(self, "_supervisor"):
            self._supervisor.cancel()

    def add_worker(self) -> str:
        """Starts one more worker; its id, once the cell counts its slots."""
        identity = self.new_identity()
        self._start_worker(identity)
        self._write_state()
        return identity.worker_id

    def new_identity(self) -> WorkerIdentity:
        """A worker's name and the key pair this cell's gateway knows; each is given once."""
        if not self._identities:
            raise PartError(f"a local cell has at most {MAX_WORKERS} workers in its life")
        return self._identities.pop(0)

    def _open(self) -> None:
        self._choose_addresses()
        self._start_servers()
        environment = self._deploy()
        keys, _ = self._together(
            lambda: self._prepare(environment),
            lambda: self._start_functions(environment),
        )
        self.client_key, self.operator_key = keys.client, keys.operator
        warm_up(LocalAws(self.aws_url, self.region))
        self._await_cell()
        self._tell("cell answers")
        if self.autoscale is None:
            self._start_workers()
        else:
            self._start_nodes(self.autoscale)
        self._write_state()
        self._tell(f"ready at {self.url}")

    def _prepare(self, environment: Mapping[str, str]) -> Keys:
        if self.home is not None and self.keys is not None:
            return self.keys
        return prepare(environment, given=self.keys)

    def _choose_addresses(self) -> None:
        self._api_port = self.port or free_port()
        self._invoke_port = free_port()
        self._aws_port = self.aws_port or free_port()
        self.url = f"http://127.0.0.1:{self._api_port}"
        self._identities = list(make_identities(self.name))
        self._node_secret = secrets.token_hex(20)
        self._plan_template = Template(self.template)

    def _start_servers(self) -> None:
        webhook = f"{self.url}/api/v1/webhooks/livekit"
        invoke_url = f"http://127.0.0.1:{self._invoke_port}"
        seed = self.autoscale.seed if self.autoscale else None
        aws = partial(
            start_aws, self._supervisor, self._aws_port, invoke_url, region=self.region, seed=seed
        )
        self.store_url, self.database_url, livekit, self.aws_url = self._together(
            lambda: start_valkey(self._supervisor, self.directory),
            lambda: "" if self.home else start_postgres(self._supervisor, self.directory),
            lambda: start_livekit(self._supervisor, self.directory, webhook, report=self._tell),
            aws,
        )
        self.livekit_url = livekit.url
        self.livekit_key, self.livekit_secret = livekit.key, livekit.secret
        records = "" if self.home else " postgres,"
        self._tell(f"valkey,{records} livekit and aws answer")

    def _deploy(self) -> dict[str, str]:
        """Makes what the template says in the local AWS; the functions' whole environment."""
        livekit_secret_id = f"rapido-{self.name}-livekit"
        parameters = {
            "CellName": self.name,
            "StoreUrl": self.store_url,
            "DatabaseUrl": self.database_url,
            "LivekitServers": json.dumps([{"region": self.region, "url": self.livekit_url}]),
            "LivekitSecretId": livekit_secret_id,
            **(self.autoscale.parameters() if self.autoscale else {}),
        }
        if self.peers:
            facts = [{"cell": p.cell, "region": p.region, "url": p.url} for p in self.peers]
            parameters["Peers"] = json.dumps(facts)
        at_home: dict[str, str] = {}
        if self.home:
            parameters |= {"HomeCell": self.home.cell, "HomeRegion": self.home.region}
            at_home["AWS_ENDPOINT_URL_SQS"] = self.home.aws_url
        first = self._plan_template.resolve(parameters, {}, self.region)
        attributes = queue_urls(first, self.aws_url)
        self._plan = FunctionsPlan(
            str(self.template.resolve()),
            parameters,
            attributes,
            self.region,
            self._api_port,
            self._invoke_port,
        )
        deployment = self._plan.deployment()
        aws = LocalAws(self.aws_url, self.region)
        pair = {"livekit_api_key": self.livekit_key, "livekit_api_secret": self.livekit_secret}
        aws.put_secret(livekit_secret_id, pair)
        root_key = {"worker_root_key": secrets.token_urlsafe(32)}
        aws.put_secret(deployment.environment()["RAPIDO_WORKER_SECRET_ID"], root_key)
        aws.make_queues(deployment.queues)
        aws.make_state_machines(deployment)
        aws.make_rules(deployment)
        called = (*deployment.functions.values(), *deployment.state_machines.values())
        left_out = [one for each in called for one in each.unsupported]
        if left_out:
            self._tell(f"not run on one machine: {', '.join(left_out)}")
        return {
            **own_environment(),
            **aws_environment(self.aws_url, self.region),
            **at_home,
            **deployment.environment(),
            **(self.link.signs_as() if self.link else {}),
            **self.functions_env,
            "RAPIDO_LOCAL_CREDENTIALS": credentials_json(
                tuple(self._identities), peer_credentials(self.peers)
            ),
            "RAPIDO_LOCAL_NODE_SECRET": self._node_secret,
        }

    def _start_functions(self, environment: Mapping[str, str]) -> None:
        plan = self.directory / "functions.json"
        write_private(plan, self._plan.write())
        argv = [sys.executable, "-m", "ops.cell.functions", str(plan)]

        def answers() -> bool:
            return self._status("/health") is not None

        self._supervisor.start("functions", argv, environment, answers, cwd=ROOT)

    def _status(self, path: str) -> int | None:
        try:
            return httpx.get(f"{self.url}{path}", timeout=5.0).status_code
        except httpx.TransportError:
            return None

    def _await_cell(self) -> None:
        deadline = time.monotonic() + self.ready_timeout_s
        while self._status("/health/ready") != httpx.codes.OK:
            if self.broken.wait(0.05):
                raise PartError(self.deaths[0].describe())
            if time.monotonic() > deadline:
                lines = "\n".join(self._supervisor["functions"].tail())
                raise PartError(f"GET {self.url}/health/ready does not say 200:\n{lines}")

    def _start_workers(self) -> None:
        identities = [self.new_identity() for _ in range(self.workers)]
        with self.worker_turn:
            self._together(*(partial(self._start_worker, identity) for identity in identities))

    def _start_nodes(self, settings: Autoscale) -> None:
        """Groups, and whoever makes their machines; nodes come in their own time."""
        aws = self._aws = LocalAws(self.aws_url, self.region)
        if settings.capacity:
            AtDesk(self.aws_url).capacity(settings.capacity)
        made = make_pools(aws, self._plan_template, self._plan.parameters)
        share = 1 / (settings.most_nodes * self.cells_here)
        light = self.worker_module == LIGHT
        turn = nullcontext() if light else threading.Lock()
        machines = WorkerMachines(
            self._supervisor, self._node_secret, self.url, self.region, share, self.worker_env,
            self.worker_module, turn,
        )  # fmt: skip
        self._provisioner = Provisioner(aws.client, self.name, machines, settings, self._tell)
        self._provisioner.start()
        self._tell(f"pools: {', '.join(made)}")

    def _together(self, *tasks: Callable[[], Any]) -> list[Any]:
        """Runs the tasks at once; when one fails, or Ctrl-C comes, the others are given up."""
        with ThreadPoolExecutor(max(1, len(tasks))) as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future.done():
                        future.result()
                return [future.result() for future in futures]
            except BaseException:
                self._supervisor.cancel()
                raise

    def _start_worker(self, identity: WorkerIdentity) -> None:
        def announced(worker_id: str) -> bool:
            return announced_slots(self.url, self.operator_key).get(worker_id, 0) > 0

        self._worker_ids.append(identity.worker_id)
        share = 1 / max(1, self.workers * self.cells_here)
        start_worker(
            self._supervisor, identity, self.url, self.region, share, self.worker_env, announced,
            self.worker_module,
        )  # fmt: skip
        slots = announced_slots(self.url, self.operator_key).get(identity.worker_id, 0)
        self._tell(f"worker {identity.worker_id} is ready, {slots} slots")

    def _write_state(self) -> None:
        state = {
            "name": self.name,
            "region": self.region,
            "pid": os.getpid(),
            "url": self.url,
            "client_key": self.client_key,
            "operator_key": self.operator_key,
            "store_url": self.store_url,
            "database_url": self.database_url,
            "livekit_url": self.livekit_url,
            "livekit_key": self.livekit_key,
            "livekit_secret": self.livekit_secret,
            "aws_url": self.aws_url,
            "workers": self.worker_pids,
        }
        write_private(self.directory / "cell.json", json.dumps(state, indent=2))

    def _take_lock(self) -> IO[str]:
        lock = (self.directory / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise PartError(
                f"a cell already runs in {self.directory}: stop it, or choose another name"
            ) from None
        return lock

    def _close(self) -> None:
        (self.directory / "cell.json").unlink(missing_ok=True)
        if self._provisioner is not None:
            self._provisioner.close()
        # Workers leave in order while the cell still answers them, all at once.
        running = list(self.worker_pids)
        if running:
            with ThreadPoolExecutor(len(running)) as pool:
                list(pool.map(self._supervisor.stop, running))
        self._supervisor.stop_all()
        remove_outside_data(self.directory)
        self._lock.close()

    def _died(self, death: Death) -> None:
        if self._provisioner is not None and self._provisioner.knows(death.name):
            self._tell(f"node {death.name}: its worker ended and starts again; {death.describe()}")
            return
        self.deaths.append(death)
        self.broken.set()
        self.on_event(f"[{self.name}] {death.describe()}")

    def _tell(self, text: str) -> None:
        self.on_event(f"[{self.name}] {time.monotonic() - self._began:5.1f} s  {text}")
