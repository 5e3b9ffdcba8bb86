"""Wires between cells on one machine, which can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading

_PIECE = 65_536


class Wire:
    """Passes TCP connections on to a loopback port. While it is cut there is silence: connections
    are accepted and never answered, as through a network that loses every packet."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._lock = threading.Lock()
        self._cut = False
        self._open: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name=f"wire-{port}", daemon=True).start()

    def cut(self) -> None:
        """From now on nothing arrives; what was open is gone."""
        self._turn(True)

    def mend(self) -> None:
        """New connections arrive again; those made while it was cut are gone."""
        self._turn(False)

    def close(self) -> None:
        """For good."""
        self._listener.close()
        self._turn(True)

    def _turn(self, cut: bool) -> None:
        with self._lock:
            self._cut = cut
            for one in self._open:
                _hang_up(one)
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            with self._lock:
                self._open.add(near)
                if not self._cut:
                    self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._port))
        except OSError:
            self._open.discard(near)
            near.close()
            return
        self._open.add(far)
        for source, sink in ((near, far), (far, near)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_PIECE):
                sink.sendall(data)
        except OSError:
            pass
        with self._lock:
            for one in (source, sink):
                _hang_up(one)
                self._open.discard(one)


def _hang_up(one: socket.socket) -> None:
    """Also wakes the thread that waits for data."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
