"""Auto Scaling as far as moto does not play it; moto answers the rest."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import httpx

_XMLNS = 'xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"'
_DONE = f"<{{0}}Response {_XMLNS}><{{0}}Result/></{{0}}Response>"
_ERROR = (
    f"<ErrorResponse {_XMLNS}><Error><Type>Sender</Type><Code>ValidationError</Code>"
    "<Message>No active Lifecycle Action found</Message></Error></ErrorResponse>"
)


class PlayedGroups:
    """The two calls of Auto Scaling that moto lacks; ``told`` are the calls, as they come.

    ``beyond`` is moto's address, for every other call.
    """

    def __init__(self, beyond: str = "") -> None:
        played = self
        self.told: queue.Queue[dict[str, str]] = queue.Queue()
        self.over: set[str] = set()
        """Tokens of actions that are over."""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                text = data.decode()
                call = {name: values[0] for name, values in parse_qs(text).items()}
                if "LifecycleActionToken" not in call:
                    self._pass_on(data)
                    return
                played.told.put(call)
                gone = call["LifecycleActionToken"] in played.over
                self._send(400 if gone else 200, _ERROR if gone else _DONE.format(call["Action"]))

            def _pass_on(self, data: bytes) -> None:
                kept = {k: v for k, v in self.headers.items() if k.lower() != "content-length"}
                answer = httpx.post(f"{beyond}/", content=data, headers=kept, timeout=10)
                self._send(answer.status_code, answer.text)

            def _send(self, status: int, text: str) -> None:
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Frees its port."""
        self._server.shutdown()
        self._server.server_close()
