"""``python -m gpu_node``: one worker, until SIGTERM or SIGINT; a second signal hurries it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from gpu_node import logs
from gpu_node.agent import Agent, Superseded, Unwell
from gpu_node.sessions import Sessions
from gpu_node.settings import Settings, SettingsError, from_environment

_UNWELL = 3
_M_ARENA_MAX = -8  # of malloc.h
_log = logging.getLogger("gpu_node")


class Working(Protocol):
    """A worker, put together."""

    agent: Agent
    sessions: Sessions
    app: FastAPI

    async def close(self) -> None:
        """Lets go of what it holds."""


def _worker(settings: Settings, url: str) -> Working:
    from gpu_node.worker import Worker  # the engine's libraries only once the settings hold

    return Worker(settings, url)


class _Server(uvicorn.Server):
    """Signals are the worker's own affair: it drains before the API goes."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the handlers as they are."""
        yield


def main(make: Callable[[Settings, str], Working] = _worker) -> int:
    """0: left in order. 1: could not work, or a newer instance took the name. 2: settings.
    3: its engine or GPU is sick, and only a new process helps.

    ``make`` is given the settings and the URL under which the worker is reached.
    """
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.set_up()
    _few_arenas()
    try:
        listener = socket.create_server((settings.host, settings.port))
    except OSError as error:
        sys.stderr.write(
            f"RAPIDO_PORT {settings.port} on {settings.host} cannot be used ({error}); "
            "choose another, or 0 for a free one\n"
        )
        return 2
    try:
        return asyncio.run(_serve(settings, listener, make))
    except SettingsError as error:  # one that only this machine's GPU refuses
        sys.stderr.write(f"{error}\n")
        return 2


def _few_arenas() -> None:
    """Every session brings LiveKit's threads, and glibc keeps arenas for them that only grow.

    Another C library than glibc has no such call and no such habit.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


async def _serve(
    settings: Settings, listener: socket.socket, make: Callable[[Settings, str], Working]
) -> int:
    url = settings.url(listener.getsockname()[1])
    worker = make(settings, url)
    _log.info("listening", extra={"url": url, "worker_id": settings.worker_id})
    server = _Server(uvicorn.Config(worker.app, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    agent = asyncio.create_task(worker.agent.run())
    stop, hurry = _signals()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({agent, stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if agent.done():
        code = _say_why(agent)
        if code == _UNWELL:
            await worker.agent.leave(0.0, hurry)
        else:
            await worker.sessions.close("The worker was superseded.", revoked=True)
    else:
        await worker.agent.leave(settings.drain_limit_s, hurry)
        agent.cancel()
        await asyncio.wait({agent})
    stopping.cancel()
    server.should_exit = True
    await asyncio.wait({serving})
    await worker.close()
    return code


def _say_why(agent: asyncio.Task[None]) -> int:
    error = agent.exception()
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, Unwell):
        _log.error("a new process is needed: %s", error)
        return _UNWELL
    if isinstance(error, Superseded):
        _log.error("stopping: %s", error)
    else:
        _log.error("the worker cannot work: %s", error, exc_info=error)
    return 1


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop, hurry


if __name__ == "__main__":
    code = main()
    if code == _UNWELL:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)  # threads that hang in a driver would hold an orderly end for ever
    sys.exit(code)
